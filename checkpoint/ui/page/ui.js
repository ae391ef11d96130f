"use strict";
(() => {
document.querySelectorAll("table.sortable").forEach(page.sortRows);

// The list of runs: numbers go on; another set of runs is another page.
const runs = document.getElementById("runs");
if (runs) {
  let known = null;
  const source = new EventSource(runs.dataset.events);
  source.onmessage = async (event) => {
    const { live, past } = JSON.parse(event.data);
    const now = JSON.stringify([live.map((run) => [run.name, run.is_alive]), past]);
    if (known !== null && known !== now) await refresh();
    known = now;
    for (const run of live) {
      const card = runs.querySelector(`[data-run="${CSS.escape(run.name)}"]`);
      if (card) card.querySelector("progress").value = run.settled;
      const numbers = card?.querySelector(".numbers");
      if (numbers) numbers.firstChild.textContent = numbers.firstChild.textContent.replace(/^[\d,]+/, run.settled.toLocaleString("en"));
    }
  };
  addEventListener("pagehide", () => source.close());
}

async function refresh() {
  const text = await (await fetch(location.href)).text();
  const found = new DOMParser().parseFromString(text, "text/html").getElementById("runs");
  if (found) runs.replaceChildren(...found.childNodes);
}
document.documentElement.dataset.ready = "yes";
})();
