"use strict";
(() => {
const record = JSON.parse(document.getElementById("record").textContent);
const { tasks, task, label, outcome, outcomes, seconds, size, upstream, bars } = record;
const count = task.length;
const MOST_SHOWN = 1000, LABELLED = 14, PAGE = 100;
const { element, clock, bytes, sortable, sortRows } = page;
const byId = (id) => document.getElementById(id);

const downstream = Array.from({ length: count }, () => []);
upstream.forEach((above, node) => above.forEach((each) => downstream[each].push(node)));
const startOf = new Map(), laneOf = new Map();
bars.node.forEach((node, i) => { startOf.set(node, bars.start[i]); laneOf.set(node, bars.lane[i]); });
const reasonOf = (node) => record.reasons[record.why[node]] ?? "";
const onPath = new Set(record.path);

const shortened = (text, most) => (text.length <= most ? text : "…" + text.slice(1 - most));

// --- the graph ---

const ORDER = [2, 3, 4, 1, 0];
const members = tasks.map(() => []);
task.forEach((each, node) => members[each].push(node));
const positionOf = new Int32Array(count);
members.forEach((nodes) => nodes.sort((a, b) => ORDER.indexOf(outcome[a]) - ORDER.indexOf(outcome[b]) || a - b));
members.forEach((nodes) => nodes.forEach((node, position) => { positionOf[node] = position; }));
const links = new Map();
upstream.forEach((above, node) => above.forEach((each) => {
  const key = `${task[each]} ${task[node]}`;
  links.set(key, (links.get(key) || 0) + 1);
}));
const opened = new Set();
let chosen = null;

function sizeOfBox(index) {
  const shown = Math.min(members[index].length, MOST_SHOWN);
  if (!opened.has(index)) return [210, 58];
  if (shown <= LABELLED) return [330, 66 + 22 * shown];
  const across = Math.min(60, Math.max(14, Math.ceil(Math.sqrt(shown * 3))));
  const more = members[index].length > shown ? 22 : 0;
  return [Math.max(210, 20 + 14 * across), 62 + 14 * Math.ceil(shown / across) + more, across];
}

function placed() {
  const rows = [], most = 5;
  for (let layer = 0; layer <= Math.max(0, ...record.layers); layer++) {
    const inLayer = tasks.map((_, index) => index).filter((index) => record.layers[index] === layer);
    for (let i = 0; i < inLayer.length; i += most) rows.push(inLayer.slice(i, i + most));
  }
  const places = new Map();
  let y = 16, width = 0;
  const widths = rows.map((row) => row.reduce((sum, index) => sum + sizeOfBox(index)[0] + 30, -30));
  const widest = Math.max(...widths, byId("graph-view").clientWidth - 64);
  rows.forEach((row, i) => {
    let x = 30 + (widest - widths[i]) / 2, height = 0;
    for (const index of row) {
      const [w, h, across] = sizeOfBox(index);
      places.set(index, { x, y, w, h, across });
      x += w + 30;
      height = Math.max(height, h);
    }
    width = Math.max(width, x + 30);
    y += height + 44;
  });
  return { places, width, height: y };
}

function spotOf(node, places) {
  const box = places.get(task[node]), position = positionOf[node];
  if (!opened.has(task[node]) || position >= MOST_SHOWN) return { x: box.x + box.w / 2, y: box.y + 29 };
  if (members[task[node]].length <= LABELLED) return { x: box.x + 17, y: box.y + 67 + 22 * position };
  return { x: box.x + 16 + 14 * (position % box.across), y: box.y + 61 + 14 * Math.floor(position / box.across) };
}

function drawGraph(focus) {
  const { places, width, height } = placed();
  const svg = element("svg", { width, height, role: "group", "aria-label": "tasks and what they require" });
  for (const [key, number] of links) {
    const [from, to] = key.split(" ").map((each) => places.get(Number(each)));
    const edge = element("path", { class: "edge", d: curve(from, to) });
    edge.append(element("title", {}, `${number} values`));
    svg.append(edge);
  }
  for (const [index, box] of places) svg.append(drawBox(index, box));
  if (chosen !== null) for (const tie of ties(places)) svg.append(tie);
  byId("graph-view").replaceChildren(svg);
  if (focus) svg.querySelector(focus)?.focus({ preventScroll: true });
}

function curve(from, to) {
  if (from === to) {
    const x = from.x + from.w, y = from.y + 16;
    return `M ${x} ${y} C ${x + 26} ${y - 14}, ${x + 26} ${y + 34}, ${x} ${y + 22}`;
  }
  const x1 = from.x + from.w / 2, y1 = from.y + from.h, x2 = to.x + to.w / 2, y2 = to.y;
  if (y2 < y1) return `M ${x1} ${from.y} C ${x1} ${from.y - 30}, ${x2} ${to.y + to.h + 30}, ${x2} ${to.y + to.h}`;
  const bend = Math.max(22, (y2 - y1) / 2);
  return `M ${x1} ${y1} C ${x1} ${y1 + bend}, ${x2} ${y2 - bend}, ${x2} ${y2}`;
}

function drawBox(index, box) {
  const group = element("g", {});
  const head = element("g", { role: "button", tabindex: 0, "aria-expanded": opened.has(index), id: `box-${index}` });
  head.setAttribute("aria-label", `${tasks[index]}, ${summary(index)}`);
  head.append(element("rect", { class: "box", x: box.x, y: box.y, width: box.w, height: box.h, rx: 8 }));
  head.append(element("title", {}, tasks[index]));
  const sign = opened.has(index) ? "▾" : "▸";
  head.append(element("text", { x: box.x + 10, y: box.y + 21 }, `${sign} ${shortened(tasks[index], Math.floor(box.w / 8) - 2)}`));
  head.append(element("text", { x: box.x + 10, y: box.y + 37, class: "small" }, shortened(summary(index), Math.floor(box.w / 6))));
  let x = box.x + 10;
  for (const kind of [0, 1, 2, 3, 4]) {
    const part = (box.w - 20) * members[index].filter((node) => outcome[node] === kind).length / members[index].length;
    if (part) head.append(element("rect", { class: `o${kind}`, x, y: box.y + 44, width: part, height: 6 }));
    x += part;
  }
  const toggle = () => { opened.has(index) ? opened.delete(index) : opened.add(index); drawGraph(`#box-${index}`); };
  head.addEventListener("click", toggle);
  head.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); }
  });
  group.append(head);
  if (opened.has(index)) drawInstances(group, index, box);
  return group;
}

function summary(index) {
  const parts = [1, 0, 2, 3, 4].map((kind) => [members[index].filter((node) => outcome[node] === kind).length, outcomes[kind]]);
  return parts.filter(([number]) => number).map(([number, name]) => `${number} ${name}`).join(", ");
}

function drawInstances(group, index, box) {
  const nodes = members[index].slice(0, MOST_SHOWN), hasLabels = members[index].length <= LABELLED;
  const across = hasLabels ? 1 : box.across;
  const stop = nodes.includes(chosen) ? chosen : nodes[0];
  nodes.forEach((node, position) => {
    const spot = spotOf(node, new Map([[index, box]]));
    const classes = ["instance", `o${outcome[node]}`, onPath.has(node) ? "on-path" : "", node === chosen ? "chosen-one" : ""];
    const square = element("rect", {
      class: classes.join(" "), x: spot.x - 6, y: spot.y - 6, width: 12, height: 12, rx: 2, id: `instance-${node}`,
      role: "button", tabindex: node === stop ? 0 : -1, "aria-label": `${label[node]}, ${outcomes[outcome[node]]}`,
    });
    square.append(element("title", {}, `${label[node]}\n${outcomes[outcome[node]]}, ${clock(seconds[node])}`));
    square.addEventListener("click", () => choose(node));
    square.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
      if (event.key === "Enter" || event.key === " " || step) event.preventDefault();
      if (event.key === "Enter" || event.key === " ") choose(node);
      else if (step && nodes[position + step] !== undefined) choose(nodes[position + step]);
    });
    group.append(square);
    if (hasLabels) {
      const text = `${shortened(argumentsOf(node), 38)}`;
      group.append(element("text", { x: spot.x + 12, y: spot.y + 4, class: "small" }, text));
    }
  });
  if (members[index].length > nodes.length) {
    const more = element("text", { x: box.x + 10, y: box.y + box.h - 9, class: "small" });
    more.textContent = `and ${members[index].length - nodes.length} more, in the table below`;
    group.append(more);
  }
}

const argumentsOf = (node) => { const at = label[node].indexOf("("); return at < 0 ? label[node] : label[node].slice(at); };

function ties(places) {
  const spot = spotOf(chosen, places);
  return [...upstream[chosen].map((node) => [spotOf(node, places), spot]), ...downstream[chosen].map((node) => [spot, spotOf(node, places)])]
    .slice(0, 500)
    .map(([from, to]) => element("path", { class: "tie", d: `M ${from.x} ${from.y} L ${to.x} ${to.y}` }));
}

function choose(node) {
  chosen = node;
  opened.add(task[node]);
  drawGraph(`#instance-${node}`);
  const view = byId("chosen");
  view.replaceChildren(element("b", {}, label[node]));
  const parts = [outcomes[outcome[node]]];
  if (outcome[node] < 2) parts.push(`took ${clock(seconds[node])}`, bytes(size[node]));
  if (laneOf.has(node)) parts.push(`on ${record.lanes[laneOf.get(node)]} at ${clock(startOf.get(node))}`);
  if (onPath.has(node)) parts.push("on the critical path");
  view.append(element("div", {}, parts.join(", ")));
  if (reasonOf(node)) view.append(element("div", {}, `why it was computed: ${reasonOf(node)}`));
  view.append(element("div", {}, `requires ${named(upstream[node])}`), element("div", {}, `required by ${named(downstream[node])}`));
}

function named(nodes) {
  if (!nodes.length) return "nothing";
  const more = nodes.length > 8 ? ` and ${nodes.length - 8} more` : "";
  return nodes.slice(0, 8).map((node) => label[node]).join(", ") + more;
}

// --- the timeline ---

const COLOURS = ["#3b76c4", "#2f8f46", "#8f5bc0", "#c98a1b", "#1f97a3", "#b0558a", "#7a8a2b", "#6a7fd1", "#a06a3a", "#4e9a7a"];

function drawTimeline() {
  const view = byId("timeline-view");
  if (!view) return;
  const lanes = record.lanes.length;
  const source = new Bokeh.ColumnDataSource({ data: {
    left: bars.start,
    right: bars.start.map((start, i) => start + bars.seconds[i]),
    top: bars.lane.map((lane) => lane + 0.42),
    bottom: bars.lane.map((lane) => lane - 0.42),
    colour: bars.node.map((node, i) => (bars.kind[i] === "computed" ? COLOURS[task[node] % COLOURS.length] : "#d02f2f")),
    call: bars.node.map((node) => (label[node].length > 120 ? label[node].slice(0, 119) + "…" : label[node])),
    kind: bars.kind,
    took: bars.seconds.map(clock),
  } });
  const { Plotting } = Bokeh;
  const figure = Plotting.figure({
    height: Math.min(640, 110 + Math.max(2, lanes) * (lanes > 20 ? 14 : 26)), sizing_mode: "stretch_width",
    tools: "xpan,xwheel_zoom,xbox_zoom,reset", active_scroll: null, toolbar_location: "above",
    x_range: [0, Math.max(record.total, 0.001)], y_range: [lanes - 0.4, -0.6], output_backend: "canvas",
  });
  figure.toolbar.logo = null;
  const quads = figure.quad(
    { field: "left" }, { field: "right" }, { field: "bottom" }, { field: "top" },
    { source, fill_color: { field: "colour" }, line_color: { field: "colour" }, line_width: 0.5, fill_alpha: 0.9 },
  );
  quads.nonselection_glyph = null;
  const hover = new Bokeh.HoverTool({ renderers: [quads], tooltips: [["call", "@call"], ["", "@kind after @took"]] });
  const tap = new Bokeh.TapTool({ renderers: [quads] });
  figure.add_tools(hover, tap);
  source.selected.properties.indices.change.connect(() => {
    const [first] = source.selected.indices;
    if (first !== undefined) choose(bars.node[first]);
  });
  const yaxis = figure.yaxis, xaxis = figure.xaxis;
  for (const axis of yaxis) {
    axis.ticker = new Bokeh.FixedTicker({ ticks: record.lanes.map((_, i) => i).filter((i) => lanes <= 40 || i % Math.ceil(lanes / 40) === 0) });
    axis.major_label_overrides = new Map(record.lanes.map((name, i) => [i, name]));
    axis.minor_tick_line_color = null;
  }
  for (const axis of xaxis) axis.axis_label = "seconds since the run began";
  const paint = () => {
    const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    figure.background_fill_color = figure.border_fill_color = colour("--paper");
    figure.outline_line_color = colour("--line");
    for (const axis of [...xaxis, ...yaxis]) {
      axis.major_label_text_color = axis.axis_label_text_color = colour("--faint");
      axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = colour("--line");
    }
    for (const grid of [...figure.xgrid, ...figure.ygrid]) grid.grid_line_color = colour("--line");
  };
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  Plotting.show(figure, view);
}

// --- the tables ---

const COLUMNS = [
  ["call", (node) => label[node], (node) => label[node]],
  ["outcome", (node) => outcome[node], (node) => outcomes[outcome[node]]],
  ["time", (node) => seconds[node], (node) => (outcome[node] < 2 ? clock(seconds[node]) : "")],
  ["bytes", (node) => size[node], (node) => (outcome[node] < 2 ? bytes(size[node]) : "")],
  ["began", (node) => startOf.get(node) ?? -1, (node) => (startOf.has(node) ? clock(startOf.get(node)) : "")],
  ["worker", (node) => laneOf.get(node) ?? -1, (node) => (laneOf.has(node) ? record.lanes[laneOf.get(node)] : "")],
  ["requires", (node) => upstream[node].length, (node) => upstream[node].length || ""],
  ["why", (node) => reasonOf(node), (node) => reasonOf(node)],
];
const lowered = label.map((text, node) => `${text} ${reasonOf(node)}`.toLowerCase());
let order = { column: 2, sign: -1 }, shownPage = 0, found = [];

function search() {
  const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wantedTask = byId("filter-task").value, wantedOutcome = byId("filter-outcome").value;
  found = [];
  for (let node = 0; node < count; node++) {
    if (wantedTask !== "" && task[node] !== Number(wantedTask)) continue;
    if (wantedOutcome !== "" && outcome[node] !== Number(wantedOutcome)) continue;
    if (words.every((word) => lowered[node].includes(word))) found.push(node);
  }
  const value = COLUMNS[order.column][1];
  found.sort((a, b) => {
    const x = value(a), y = value(b);
    return order.sign * (x < y ? -1 : x > y ? 1 : 0) || a - b;
  });
  shownPage = 0;
  showPage();
}

function showPage() {
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  shownPage = Math.min(Math.max(shownPage, 0), pages - 1);
  byId("found").textContent = `${found.length} of ${count}`;
  byId("page").textContent = `page ${shownPage + 1} of ${pages}`;
  byId("previous").disabled = shownPage === 0;
  byId("next").disabled = shownPage === pages - 1;
  byId("table").tBodies[0].replaceChildren(...found.slice(shownPage * PAGE, (shownPage + 1) * PAGE).map((node) => {
    const row = element("tr");
    COLUMNS.forEach(([name, , text], i) => {
      if (i) {
        const isText = name === "outcome" || name === "why", isBad = i === 1 && outcome[node] === 2;
        row.append(element("td", isText ? { class: isBad ? "text failed" : `text ${name}` } : {}, text(node)));
        return;
      }
      const cell = element("th", { scope: "row" }), button = element("button", { type: "button" }, text(node));
      button.addEventListener("click", () => { choose(node); byId("graph").scrollIntoView(); });
      cell.append(button);
      row.append(cell);
    });
    return row;
  }));
}

function drawTable() {
  const heads = byId("table").tHead.rows[0];
  COLUMNS.forEach(([name], i) => {
    const header = element("th", { scope: "col" }, name);
    heads.append(header);
    sortable(header, i, (column, sign) => { order = { column, sign }; search(); });
  });
  heads.children[2].setAttribute("aria-sort", "descending");
  const all = (id, names) => names.forEach((name, i) => byId(id).append(element("option", { value: i }, name)));
  all("filter-task", tasks);
  all("filter-outcome", outcomes);
  for (const id of ["filter-text", "filter-task", "filter-outcome"]) byId(id).addEventListener("input", search);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("previous").addEventListener("click", () => { shownPage--; showPage(); });
  byId("next").addEventListener("click", () => { shownPage++; showPage(); });
  search();
}

if (count <= 60) tasks.forEach((_, index) => opened.add(index));
drawGraph();
drawTable();
document.querySelectorAll("table.sortable").forEach(sortRows);
drawTimeline();
document.documentElement.dataset.ready = "yes";
})();
