// Millhand's page behaviour. Everything works without it; with it times are kept up to date, charts are
// drawn from the tables beside them, rows can be walked with keys, and updates can be paused.

const root = document.documentElement;
const base = document.body.dataset.base;
const main = document.getElementById("main");

// Cookies are what the server reads; none of them says who somebody is.
function remember(name, value) {
  document.cookie = `${name}=${encodeURIComponent(value)}; path=${base}/; max-age=31536000; samesite=lax`;
}

// ---- times

const zone = root.dataset.zone === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : root.dataset.zone;
if (root.dataset.zone === "local" && zone) remember("millhand_local", zone);
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const hour = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short" });
const whole = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
const minute = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

let ahead = 0; // of the broker's clock before this one's, in ms

function span(ms) {
  ms = Math.max(ms, 0);
  const s = Math.floor(ms / 1000);
  const two = (n, unit, rest, smaller) => (rest ? `${n}${unit} ${rest}${smaller}` : `${n}${unit}`);
  if (s < 10) return `${Math.floor(ms / 100) / 10} s`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "m", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s / 60) % 60, "m");
  if (s < 864000) return two(Math.floor(s / 86400), "d", Math.floor(s / 3600) % 24, "h");
  return `${Math.floor(s / 86400)} d`;
}

function timeText(kind, at, now) {
  if (kind === "ago") return `${span(now - at)} ago`;
  if (kind === "age") return span(now - at);
  if (kind === "in") return at > now ? `in ${span(at - now)}` : `${span(now - at)} ago`;
  return day.format(at) === day.format(now) ? clock.format(at) : minute.format(at);
}

function tell(within) {
  const now = Date.now() + ahead;
  for (const t of within.querySelectorAll("time[data-t]")) {
    const at = new Date(t.dateTime);
    const text = timeText(t.dataset.t, at, now);
    if (t.textContent !== text) t.textContent = text;
    t.title = `${whole.format(at)}.${String(at.getUTCMilliseconds()).padStart(3, "0")} ${zone}`;
  }
}

function setClock() {
  const of = document.querySelector("#clock .of time");
  if (of) ahead = new Date(of.dateTime) - Date.now();
  tell(document);
}

// ---- charts

const plots = new Map(); // by element

function color(name) {
  const of = { "ok": "--ok", "error": "--error", "info": "--info", "warn": "--warn", "run": "--ok", "run-high": "--ok", "wait": "--warn", "wait-high": "--warn" };
  const probe = document.createElement("i");
  probe.style.color = `var(${of[name] ?? "--info"})`;
  main.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function readTable(table) {
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  const data = [rows.map((r) => Date.parse(r.querySelector("time").dateTime) / 1000)];
  heads.forEach((_, i) => data.push(rows.map((r) => (r.cells[i + 1].dataset.v === undefined ? null : Number(r.cells[i + 1].dataset.v)))));
  return { heads, data };
}

function compact(n) {
  return n >= 1e6 ? `${n / 1e6}M` : n >= 1e3 ? `${n / 1e3}k` : String(n);
}

function seconds(n) {
  if (n < 0.001) return `${Number((n * 1e6).toPrecision(2))} µs`;
  if (n < 1) return `${Number((n * 1e3).toPrecision(2))} ms`;
  return n < 10 ? `${Number(n.toPrecision(2))} s` : span(n * 1000);
}

// The marks of a logarithmic axis: each power of ten, and 2 and 5 times it where there are few.
function marks(lo, hi) {
  const from = Math.floor(Math.log10(lo)), all = [];
  const of = Math.log10(hi / lo) > 2.5 ? [1] : [1, 2, 5];
  for (let e = from; 10 ** e <= hi; e++) for (const n of of) all.push(Number((n * 10 ** e).toPrecision(1)));
  return all.filter((n) => n >= lo * 0.999 && n <= hi * 1.001);
}

// The next 1, 2 or 5 times a power of ten, down or up.
function round(n, up) {
  const e = 10 ** Math.floor(Math.log10(n)), all = [1, 2, 5, 10].map((m) => Number((m * e).toPrecision(1)));
  return up ? all.find((m) => m >= n * 0.999) : all.findLast((m) => m <= n * 1.001);
}

// What stands alone between gaps is no line, and drawn as a point.
function alone(values) {
  return values.flatMap((n, i) => (n != null && values[i - 1] == null && values[i + 1] == null ? [i] : []));
}

function draw(el) {
  const table = document.getElementById(el.dataset.chart);
  if (!table || typeof uPlot === "undefined") return;
  const { heads, data } = readTable(table);
  const old = plots.get(el);
  if (old) {
    old.setData(data);
    return;
  }
  const log = "log" in el.dataset;
  const unit = log ? seconds : compact;
  const muted = getComputedStyle(document.querySelector(".foot")).color;
  const grid = { stroke: getComputedStyle(document.querySelector(".foot")).borderTopColor, width: 1 };
  const long = data[0].length > 1 && data[0].at(-1) - data[0][0] > 86400 * 1.5;
  const font = "11px system-ui, sans-serif";
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  const plot = new uPlot({
    width: el.clientWidth, height: el.clientHeight,
    tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), zone),
    legend: { show: false },
    cursor: { y: false, drag: { x: true, y: false, setScale: false } },
    scales: { x: { time: true }, y: log ? { distr: 3, range: (_, lo, hi) => (lo > 0 ? [round(lo, false), round(hi > lo ? hi : lo * 2, true)] : [0.001, 1]) } : { range: (_, lo, hi) => [0, Math.max(hi * 1.1, 1)] } },
    axes: [
      { stroke: muted, font, grid: { show: false }, ticks: { show: false }, size: 28, gap: 9, space: 64, values: (_, all) => all.map((s) => (long ? day : hour).format(new Date(s * 1e3))) },
      { stroke: muted, font, grid, ticks: { show: false }, size: 52, splits: log ? (_u, _axis, lo, hi) => marks(lo, hi) : undefined, filter: log ? (_, all) => all : undefined, values: (_, all) => all.map((n) => (n == null ? "" : unit(n))) },
    ],
    series: [{}, ...heads.map((h) => ({
      label: h.textContent, stroke: color(h.dataset.color), width: 1.5, points: { show: true, size: 4, filter: (u, i) => alone(u.data[i]) },
      dash: h.dataset.color.endsWith("-high") ? [4, 3] : undefined, spanGaps: false,
      fill: h.dataset.color === "ok" && !log ? color("ok").replace(")", " / 10%)").replace("rgb(", "rgb(").replaceAll(",", "") : undefined,
    }))],
    hooks: {
      setSelect: [(u) => {
        if (u.select.width < 8) return; // a click
        const to = new URL(location.href);
        const at = (left) => new Date(Math.round(u.posToVal(left, "x") / 60) * 60e3).toISOString().replace(".000Z", "Z");
        to.searchParams.delete("range");
        to.searchParams.set("since", at(u.select.left));
        to.searchParams.set("until", at(u.select.left + u.select.width));
        if (to.searchParams.get("since") !== to.searchParams.get("until")) location.assign(to);
      }],
      setCursor: [(u) => {
        const i = u.cursor.idx;
        tip.hidden = i == null || u.cursor.left < 0;
        if (tip.hidden) return;
        tip.textContent = [minute.format(new Date(u.data[0][i] * 1e3)), ...heads.map((h, s) => `${h.textContent} ${u.data[s + 1][i] == null ? "–" : unit(Number(u.data[s + 1][i].toPrecision(3)))}`)].join("  ·  ");
        const left = Math.min(u.cursor.left + 12, u.over.clientWidth - tip.offsetWidth);
        tip.style.left = `${Math.max(left, 0)}px`;
        tip.style.top = "4px";
      }],
    },
  }, data, el);
  plot.over.append(tip);
  plots.set(el, plot);
}

function drawAll() {
  for (const [el, plot] of plots) {
    if (!el.isConnected) {
      plot.destroy();
      plots.delete(el);
    }
  }
  document.querySelectorAll("[data-chart]").forEach(draw);
}

function redraw() {
  plots.forEach((plot, el) => { plot.destroy(); plots.delete(el); el.replaceChildren(); });
  drawAll();
}

new ResizeObserver(() => plots.forEach((plot, el) => plot.setSize({ width: el.clientWidth, height: el.clientHeight }))).observe(main);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// ---- theme: at once, and kept by the server

document.getElementById("theme").form.addEventListener("submit", (e) => {
  e.preventDefault();
  const dark = root.dataset.theme === "dark" || (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
  remember("millhand_theme", root.dataset.theme);
  redraw();
});

// ---- live updates

let paused = sessionStorage.getItem("millhand-paused") === "yes";
const source = main.getAttribute("hx-sse:connect");
let alive = !paused;

function showLive(text, on) {
  const el = document.querySelector("[data-live]");
  if (!el) return;
  el.classList.toggle("off", !on);
  let button = el.querySelector("button");
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.dataset.js = "";
    button.addEventListener("click", pause);
    el.append(button);
  }
  button.textContent = text;
  button.title = paused ? "Resume updates (p)" : "Pause updates (p)";
}

function pause() {
  paused = !paused;
  sessionStorage.setItem("millhand-paused", paused ? "yes" : "no");
  if (!paused) location.reload();
  else stop();
}

function stop() {
  main.removeAttribute("hx-sse:connect");
  main._htmx?.sse?.reader?.cancel();
  main._htmx?.sse?.abortController?.abort();
  showLive("paused", false);
}

// A browser has few connections to a server for all of its windows, and each that is live takes one: a fifth page beside four
// would leave none to load a page by. So the four that were used last are live, and the others wait like those that are hidden.
const most = 4;
const windows = new BroadcastChannel("millhand-live");
const self = Math.random().toString(36);
const later = new Set(); // windows that were used after this one
const isHidden = Object.getOwnPropertyDescriptor(Document.prototype, "hidden").get;
let crowded = false;
Object.defineProperty(document, "hidden", { configurable: true, get: () => crowded || isHidden.call(document) });

function crowd(now) {
  if (crowded === now) return;
  crowded = now;
  if (!now && source && !paused && !main._htmx?.sse) return location.reload(); // it was crowded before it was connected
  document.dispatchEvent(new Event("visibilitychange"));
  updated();
}

function used() {
  if (!later.size && !crowded && used.told) return;
  used.told = true;
  later.clear();
  windows.postMessage(self);
  crowd(false);
}
windows.addEventListener("message", (e) => { later.add(e.data); if (later.size >= most) crowd(true); });
for (const event of ["focus", "pointerdown", "pointerover", "keydown"]) addEventListener(event, used);

let problems = document.querySelector("#bell a")?.textContent.match(/\d+/)?.[0] ?? 0;
let saidAt = 0;

function sayProblems() {
  const now = Number(document.querySelector("#bell a")?.textContent.match(/\d+/)?.[0] ?? 0);
  if (now > problems && Date.now() - saidAt > 30000) {
    document.getElementById("polite").textContent = `${now - problems} new ${now - problems === 1 ? "problem" : "problems"}`;
    saidAt = Date.now();
  }
  problems = now;
}

function updated() {
  setClock();
  drawAll();
  sayProblems();
  if (source) showLive(paused ? "paused" : crowded ? "not live beside four windows" : alive ? "live" : "reconnecting", alive && !paused && !crowded);
}

if (source && !document.hidden) used();
document.addEventListener("htmx:sse:before:connection", (e) => { if (paused) e.preventDefault(); });
document.addEventListener("htmx:sse:after:connection", () => { alive = true; });
// Windows that show the same page ask for the same address, for which a browser's cache has them wait for each other.
document.addEventListener("htmx:config:request", (e) => { e.detail.ctx.request.cache = "no-store"; });
// One that was opened behind others, or was hidden while it connected, has its connection all the same: the extension looks when
// that changes only.
function release() {
  if (document.hidden) document.dispatchEvent(new Event("visibilitychange"));
}
document.addEventListener("htmx:sse:after:connection", () => setTimeout(release));
document.addEventListener("htmx:sse:after:message", release);
document.addEventListener("htmx:sse:after:message", () => { alive = true; root.dataset.updated = String(Number(root.dataset.updated ?? 0) + 1); updated(); });
document.addEventListener("htmx:sse:error", () => { alive = false; updated(); });
document.addEventListener("millhand:ended", () => { main.removeAttribute("hx-sse:connect"); main._htmx?.sse?.abortController?.abort(); showLive("ended", false); });
setInterval(() => { if (!document.hidden) tell(document); }, 1000);

// ---- keys

let row = null;
function rows() { return [...main.querySelectorAll("table:not(.as-table table) tbody tr")].filter((r) => r.offsetParent && r.querySelector("a")); }
function walk(step) {
  const all = rows();
  if (!all.length) return;
  const at = Math.min(Math.max(all.findIndex((r) => r === row || r.id && r.id === row?.id) + step, 0), all.length - 1);
  row?.classList.remove("cursor");
  row = all[at];
  row.classList.add("cursor");
  (row.querySelector("[data-open]") ?? row.querySelector("a")).focus({ preventScroll: false });
}

let after = "";
document.addEventListener("keydown", (e) => {
  if (localStorage.getItem("millhand-keys") === "off" || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "Escape") {
    const open = document.activeElement.closest?.("details.act[open]");
    if (open) { open.open = false; open.querySelector("summary").focus(); }
    if (document.activeElement.matches("input")) document.activeElement.blur();
    return;
  }
  if (e.target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
  const g = after === "g";
  after = g ? "" : e.key;
  const to = g && document.querySelector(`#nav [data-key="${CSS.escape(e.key)}"]`);
  const act = {
    "/": () => document.getElementById("search").focus(),
    "j": () => walk(1),
    "k": () => walk(-1),
    "x": () => row?.querySelector("input[type=checkbox]")?.click(),
    "w": () => (row ?? main).querySelector("[data-why]")?.click(),
    ".": () => { const d = (row ?? main).querySelector("details.act"); if (d) { d.open = !d.open; d.querySelector("input:not([type=hidden]), select, button")?.focus(); } },
    "p": pause,
    "r": () => location.reload(),
    "t": () => document.getElementById("theme").click(),
    "?": () => document.getElementById("keys").showModal(),
  }[e.key];
  if (to) to.click();
  else if (act && !g) { e.preventDefault(); act(); }
});

// One form of operations is open at a time, and a form is sent once.
document.addEventListener("toggle", (e) => {
  if (!e.target.matches?.("details.act") || !e.target.open) return;
  document.querySelectorAll("details.act[open]").forEach((d) => { if (d !== e.target) d.open = false; });
}, true);
document.addEventListener("click", (e) => {
  document.querySelectorAll("details.act[open]").forEach((d) => { if (!d.contains(e.target)) d.open = false; });
});
document.addEventListener("submit", (e) => {
  if (e.defaultPrevented || e.target.method !== "post") return;
  if (e.target.dataset.js === "sent") e.preventDefault();
  e.target.dataset.js = "sent";
});
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-js=sent]").forEach((f) => { f.dataset.js = ""; }));

updated();
// A page of a broker that is away looks for it again, without leaving what was pressed meanwhile.
if ("again" in root.dataset) setTimeout(() => location.reload(), 5000);
root.dataset.ready = "yes";
