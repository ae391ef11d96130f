"use strict";
// What the page of a report and those of `checkpoint ui` share: elements, numbers as texts, tables that sort.
const page = (() => {
function element(name, attributes = {}, text) {
  const isSvg = ["svg", "g", "rect", "path", "text", "title"].includes(name);
  const made = isSvg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function clock(time) {
  if (time > 0 && time < 0.0995) return `${Number((time * 1000).toPrecision(2))} ms`;
  if (time < 9.95) return `${time.toFixed(1)} s`;
  if (time < 60) return `${time.toFixed(0)} s`;
  const whole = Math.round(time), two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function bytes(number) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (number < 1000) return `${unit === "B" ? number : Number(number.toPrecision(3))} ${unit}`;
    number /= 1000;
  }
  return `${Number(number.toPrecision(3))} TB`;
}

function sortable(header, index, click) {
  const button = element("button", { type: "button" }, header.textContent);
  button.addEventListener("click", () => {
    const sign = header.getAttribute("aria-sort") === "descending" ? 1 : -1;
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    click(index, sign);
  });
  header.replaceChildren(button);
}

function sortRows(table) {
  [...table.tHead.rows[0].cells].forEach((header, i) => sortable(header, i, (column, sign) => {
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const compare = (a, b) => (column ? Number(value(a)) - Number(value(b)) : value(a) < value(b) ? -1 : 1);
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
  }));
}

return { element, clock, bytes, sortable, sortRows };
})();
