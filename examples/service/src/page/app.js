// Asks the service for its numbers, shows them, and passes the buttons on.

import { stacked, times } from "/charts.js";

const SAMPLES = 240;
const NAMES = { clear: "Clear", expire: "Expire", stall: "Stall", resume: "Resume" };
const at = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

let samples = [];
let latest = 0;
let plan = null;
// Changes of the plan: those not answered yet, and all. Numbers that were asked for before a change
// have an older plan.
let pending = 0;
let sent = 0;
let tickSeconds = 0.25;

/** A time in microseconds, as a person reads it. */
function time(us) {
  if (us < 1000) return `${us} µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 1_000_000) return `${Math.round(us / 1000)} ms`;
  return `${(us / 1_000_000).toFixed(2)} s`;
}

function state(up, text) {
  at("dot").className = up ? "dot up" : "dot down";
  if (at("state").textContent !== text) at("state").textContent = text;
}

async function post(path, body) {
  const content = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { method: "POST", ...content });
  if (!answer.ok) state(false, `${path}: ${answer.status}: ${await answer.text()}`);
}

/** Sends the plan that the controls show. */
async function send(changes) {
  plan = { ...plan, ...changes };
  showPlan();
  [pending, sent] = [pending + 1, sent + 1];
  await post("/demo/generator", plan).finally(() => (pending -= 1));
}

function showPlan() {
  at("run").textContent = plan.running ? "Stop the load" : "Start the load";
  at("run").dataset.on = plan.running;
  document.querySelector(`input[name="cached"][value="${plan.cached ? "on" : "off"}"]`).checked = true;
  for (const name of ["rate", "tasks"]) {
    at(name).value = plan[name];
    at(`${name}-out`).textContent = plan[name];
  }
  at("asks").value = plan.asks;
}

function showCounts(stats) {
  const counts = stats.counts;
  const shown = {
    requests: counts.requests,
    queries: counts.queries,
    waited: counts.waited,
    stale: counts.stale,
    errors: counts.late + counts.failed,
    open: stats.open,
  };
  for (const [id, value] of Object.entries(shown)) at(id).textContent = number.format(value);
}

function cell(row, text, name = "") {
  const made = row.insertCell();
  made.className = name;
  if (text instanceof Node) made.append(text);
  else made.textContent = text;
}

function showActions(actions) {
  if (actions.length === 0) return;
  const rows = actions.map((action) => {
    const row = document.createElement("tr");
    row.dataset.number = action.number;
    row.dataset.over = action.over;
    row.className = action.over ? "" : "running";
    const tag = document.createElement("span");
    tag.className = action.cached ? "tag" : "tag off";
    tag.textContent = action.cached ? "on" : "off";
    cell(row, NAMES[action.name] + (action.over ? "" : " …"));
    cell(row, tag);
    cell(row, number.format(action.hot_queries), "queries");
    cell(row, number.format(action.requests));
    cell(row, number.format(action.waited));
    cell(row, number.format(action.stale));
    cell(row, number.format(action.late + action.failed), action.late + action.failed > 0 ? "bad" : "");
    cell(row, action.requests > 0 ? time(action.slowest_us) : "–");
    return row;
  });
  at("actions").replaceChildren(...rows);
}

function showCharts() {
  const late = (sample) => sample.late + sample.failed;
  const fresh = (sample) => Math.max(0, sample.hit - sample.stale);
  const others = ["stale", "waited", "called", "direct"].map((name) => [name, (sample) => sample[name]]);
  stacked(at("requests-chart"), samples, [["hit", fresh], ...others, ["late", late]], tickSeconds, tickSeconds);
  stacked(at("queries-chart"), samples, [["queries", (sample) => sample.queries]], tickSeconds, 1);
  const lines = [["slowest", "slowest_us"], ["p99", "p99_us"], ["p50", "p50_us"]];
  times(at("latency-chart"), samples, lines.map(([name, key]) => [name, (sample) => (sample.requests > 0 ? sample[key] : 0)]), tickSeconds);

  const second = samples.slice(-Math.round(1 / tickSeconds));
  const sum = (of) => second.reduce((all, sample) => all + of(sample), 0);
  at("requests-text").textContent = `In the last second: ${number.format(sum((sample) => sample.requests))}.`;
  const minute = samples.reduce((all, sample) => all + sample.queries, 0);
  at("queries-text").textContent = `Each bar: ${tickSeconds} s. In the last minute: ${number.format(minute)}.`;
  const last = samples.findLast((sample) => sample.requests > 0);
  at("latency-text").textContent = last ? `Half take ${time(last.p50_us)}, the slowest took ${time(last.slowest_us)}.` : "No request yet.";
}

function show(stats, asked) {
  tickSeconds = stats.tick_ms / 1000;
  const fresh = stats.samples.filter((sample) => sample.number > latest);
  samples = [...samples, ...fresh].slice(-SAMPLES);
  latest = samples.at(-1)?.number ?? 0;
  const sliding = at("rate").matches(":active") || at("tasks").matches(":active");
  if (plan === null || (asked === sent && pending === 0 && !sliding)) {
    plan = stats.generator;
    showPlan();
  }
  at("stall").textContent = stats.stalled ? "Let the database go on" : "Stall the database";
  at("stall").dataset.on = stats.stalled;
  at("place").textContent = stats.products_in;
  const { settings } = stats;
  at("settings").textContent =
    `A product is fresh for ${settings.product_ttl_s} s, a response for ${settings.response_ttl_s} s and served old for ` +
    `${settings.response_stale_s} s more, “no such product” for ${settings.negative_ttl_s} s; a request may take ` +
    `${settings.deadline_ms} ms; the database has ${settings.connections} connections.`;
  showCounts(stats);
  showActions(stats.actions);
  showCharts();
  const doing = stats.stalled ? "the database is stalled" : plan.running ? "the load runs" : "no load";
  state(!stats.stalled, `${doing}; products are kept in ${stats.products_in}`);
}

/** Asks once for each tick; the next question comes after the answer to this one. */
async function follow() {
  const asked = sent;
  try {
    const answer = await fetch(`/stats?after=${latest}`);
    const stats = await answer.json();
    // A service that has started anew counts anew.
    if (stats.latest < latest) [samples, latest] = [[], 0];
    show(stats, asked);
    setTimeout(follow, stats.tick_ms);
  } catch {
    state(false, "the service does not answer");
    setTimeout(follow, 2000);
  }
}

at("run").addEventListener("click", () => send({ running: !plan.running }));
at("clear").addEventListener("click", () => post("/demo/clear"));
at("expire").addEventListener("click", () => post("/demo/expire"));
at("stall").addEventListener("click", () => post("/demo/database", { stalled: at("stall").dataset.on !== "true" }));
at("asks").addEventListener("change", () => send({ asks: at("asks").value }));
for (const input of document.querySelectorAll('input[name="cached"]')) {
  input.addEventListener("change", () => send({ cached: input.value === "on" }));
}
for (const name of ["rate", "tasks"]) {
  at(name).addEventListener("input", () => (at(`${name}-out`).textContent = at(name).value));
  at(name).addEventListener("change", () => send({ [name]: Number(at(name).value) }));
}
window.addEventListener("resize", showCharts);
at("curl").textContent = `curl -i ${location.origin}/products/1\ncurl -i ${location.origin}/products/999999   # unknown`;
follow();
