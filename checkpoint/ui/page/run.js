"use strict";
(() => {
const { element, clock } = page;
const byId = (id) => document.getElementById(id);
const run = byId("run"), began = Number(run.dataset.began);
const LANE = 22, LEFT = 130, TOP = 6, BELOW = 24, COLOURS = 10;
let state = null, isOver = false;

const source = new EventSource(run.dataset.events);
source.onmessage = (event) => {
  const told = JSON.parse(event.data);
  if (told.is_over) return end(told);
  state = told;
  show();
  if (!told.is_alive) endKilled(told);
};
addEventListener("pagehide", () => source.close());

function end({ name, past }) {
  stop(past?.ended_by ? `ended by ${past.ended_by}` : "over");
  const over = byId("over");
  over.hidden = false;
  over.textContent = past ? "This run is over. " : "This run is over, and has left no record.";
  if (!past) return;
  over.append(element("a", { href: `/runs/${encodeURIComponent(name)}/report` }, "Its report"));
  byId("progress").max = past.total;
  byId("progress").value = past.settled;
  for (const [id, count] of Object.entries({ settled: past.settled, total: past.total, computed: past.computed, hit: past.fresh, failed: past.failed })) byId(id).textContent = number(count);
  byId("elapsed").textContent = clock(past.seconds);
}

function endKilled(told) {
  stop("killed");
  const over = byId("over");
  over.hidden = false;
  over.textContent = `This run's process is gone; it was last heard of at ${new Date(1000 * told.told).toLocaleString()}. What it had computed is kept.`;
}

function stop(what) {
  isOver = true;
  source.close();
  byId("state").textContent = what;
  byId("now").hidden = true;
  if (state) { state.running = []; drawTimeline(); }
}

const elapsed = () => Math.max(0, (isOver && state ? state.told : Date.now() / 1000) - began);
const number = (count) => count.toLocaleString("en");

function show() {
  const sum = (column) => state.tasks.reduce((total, row) => total + row[column], 0);
  byId("progress").max = state.total;
  byId("progress").value = state.settled;
  for (const [id, count] of Object.entries({ settled: state.settled, total: state.total, computed: sum(2), hit: sum(3), failed: state.failed })) byId(id).textContent = number(count);
  const held = Object.entries(state.held).map(([limit, count]) => `${number(count)} wait for ${limit}`);
  byId("held").textContent = held.join(", ");
  byId("by-task").replaceChildren(...state.tasks.map(([name, total, computed, hit, failed, skipped, seconds]) => {
    const row = element("tr");
    row.append(element("th", { scope: "row" }, name));
    row.append(element("td", {}, `${number(computed + hit + failed + skipped)} of ${number(total)}`));
    for (const count of [computed, hit]) row.append(element("td", {}, count ? number(count) : ""));
    row.append(element("td", { class: "failed" }, failed ? number(failed) : ""), element("td", {}, skipped ? number(skipped) : ""));
    row.append(element("td", {}, seconds ? clock(seconds) : ""));
    return row;
  }));
  showFailures();
  tick();
}

function showFailures() {
  const view = byId("failures"), shown = view.querySelectorAll("details").length;
  if (!state.failures.length || shown === state.failures.length) return;
  const made = state.failures.slice(shown).map(([call, kind, text]) => {
    const details = element("details"), summary = element("summary");
    summary.append(element("span", { class: "failed" }, kind), ` ${call}`);
    details.append(summary, element("pre", { tabindex: 0 }, text));
    return details;
  });
  if (shown) view.append(...made); else view.replaceChildren(...made);
}

function tick() {
  if (!state) return;
  byId("elapsed").textContent = clock(elapsed());
  if (isOver) return;
  byId("running").replaceChildren(...state.running.map(([call, , since, place, before]) => {
    const row = element("tr");
    row.append(element("th", { scope: "row" }, call), element("td", {}, clock(Math.max(0, elapsed() - since))));
    row.append(element("td", {}, before === null ? "" : clock(before)), element("td", { class: "text" }, place));
    return row;
  }));
  drawTimeline();
}

// --- the timeline ---

function drawTimeline() {
  const view = byId("timeline"), width = Math.max(320, view.clientWidth - 2);
  const lanes = [...state.lanes], free = lanes.map(() => 0);
  for (const [start, seconds, lane] of state.bars) free[lane] = Math.max(free[lane], start + seconds);
  const going = state.running.map(([call, task, since, place]) => {
    // A place that has several lanes, or isn't told yet, is one that is free.
    let lane = lanes.findIndex((name, i) => (place ? name === place || name.startsWith(`${place} ·`) : true) && free[i] <= since + 0.2);
    if (lane < 0) lane = lanes.push(place || "running") - 1;
    free[lane] = Infinity;
    return [since, Math.max(0, elapsed() - since), lane, "running", task, call];
  });
  const total = Math.max(elapsed(), 0.001), scale = (width - LEFT - 12) / total, height = TOP + LANE * Math.max(1, lanes.length) + BELOW;
  const svg = element("svg", { width, height, role: "img", "aria-label": `${state.bars.length} attempts on ${lanes.length} workers` });
  lanes.forEach((name, lane) => {
    const label = element("text", { x: 8, y: TOP + LANE * lane + 15 }, name.length > 18 ? `${name.slice(0, 17)}…` : name);
    label.append(element("title", {}, name));
    svg.append(label, element("path", { class: "lane", d: `M ${LEFT} ${TOP + LANE * (lane + 1)} H ${width}` }));
  });
  for (const [start, seconds, lane, kind, task, call] of [...state.bars, ...going]) {
    const name = kind === "running" ? `t${task % COLOURS} going` : kind === "computed" ? `t${task % COLOURS}` : "bad";
    const bar = element("rect", { class: `bar-of-time ${name}`, x: LEFT + start * scale, y: TOP + LANE * lane + 3, width: Math.max(1, seconds * scale - 0.5), height: LANE - 6, rx: 2 });
    bar.append(element("title", {}, `${call}\n${kind === "running" ? "running for" : `${kind} after`} ${clock(seconds)}`));
    svg.append(bar);
  }
  for (let part = 0; part <= 4; part++) {
    const anchor = part === 4 ? "end" : "middle";
    svg.append(element("text", { class: "axis", x: LEFT + (total * part * scale) / 4, y: height - 7, "text-anchor": anchor }, clock((total * part) / 4)));
  }
  view.replaceChildren(svg);
  byId("key").replaceChildren(...state.tasks.slice(0, COLOURS).map(([name], task) => element("span", { class: `k${task}` }, name)));
}

setInterval(() => { if (!isOver) tick(); }, 500);
addEventListener("resize", () => { if (state) drawTimeline(); });
document.documentElement.dataset.live = "yes";
})();
