// The panel of Train LoRA: where the run stands, its losses, the newest preview, and the buttons.
import { api } from "../../scripts/api.js";
import { LossChart } from "./chart.js";
import { addPanel, fit, make } from "./dom.js";
import { paletteOf } from "./palette.js";
import { duration, gib, said, t } from "./strings.js";

const HEIGHT = 290, PREVIEW_HEIGHT = 160;
const ACTIVE = ["running", "pausing", "saving", "paused"];
const MOST_SHOWN = 3;
const SAID = ["pausing", "saving", "stopping", "paused"];
const MOVING = /\.(mp4|webm)$/i;

export const encoded = (run) => run.split("/").map(encodeURIComponent).join("/");

/** "step 3/20 · loss 0.41 · 0.9 s/step · 15 s left · 3.1 of 24.0 GiB" */
export function statusLine({ stage, done, total, text, metrics = {}, pace, memory }) {
  const parts = [stage === "train" ? t("step", { done, total }) : `${t(`stage_${stage}`).replace(/^stage_/, "")} ${done}/${total} ${text ?? ""}`.trim()];
  if (Number.isFinite(metrics.loss)) parts.push(t("loss", { value: metrics.loss.toPrecision(3) }));
  if (pace) parts.push(t("pace", { seconds: pace.seconds_per_step.toPrecision(3) }), t("left", { time: duration(pace.seconds_left) }));
  if (memory) parts.push(t("memory", { used: gib(memory.used), total: gib(memory.total) }));
  return parts.join(" · ");
}

export class TrainPanel {
  /** `planned` is given the run's memory plan whenever one is known. */
  constructor(node, planned = () => {}) {
    this.node = node;
    this.planned = planned;
    this.knownRun = "";
    this.state = "idle";
    this.previews = [];
    this.shown = [];
    this.waiting = new Set();
    this.build();
    addPanel(node, "ltx2_chart", this.element, () => this.height());
    new ResizeObserver(() => this.chart.draw()).observe(this.canvas);
    const name = this.nameWidget();
    if (name) {
      const before = name.callback;
      name.callback = (...args) => { before?.apply(name, args); this.knownRun = ""; this.load(); };
    }
    this.setState("idle");
  }

  build() {
    this.status = make("p", { class: "ltx2-status" }, t("empty"));
    this.note = make("p", { class: "ltx2-note", role: "status", "aria-live": "polite" });
    this.notice = make("p", { class: "ltx2-note ltx2-warning", role: "status", "aria-live": "polite", hidden: "" });
    this.canvas = make("canvas", { class: "ltx2-chart", role: "img", tabindex: "0" });
    this.reading = make("p", { class: "ltx2-reading", "aria-live": "polite" });
    this.figure = make("figure", { class: "ltx2-preview", hidden: "" });
    this.buttons = Object.fromEntries(["pause", "save", "stop"].map((action) => [action, this.button(action)]));
    const bar = make("div", { class: "ltx2-buttons", role: "toolbar" }, ...Object.values(this.buttons));
    this.element = make("section", { class: "ltx2-panel ltx2-train" }, this.status, this.canvas, this.reading, this.figure, this.notice, this.note, bar);
    this.chart = new LossChart(this.canvas, { read: (values) => this.read(values), choose: (step) => this.show(this.previews.filter((p) => p.step === step)) });
    this.read(null);
  }

  button(action) {
    const button = make("button", { type: "button", class: `ltx2-button ltx2-${action}` }, t(action));
    button.addEventListener("click", () => this.press(action === "pause" && this.state === "paused" ? "resume" : action));
    return button;
  }

  nameWidget() {
    return this.node.widgets?.find((w) => w.name === "name");
  }

  /** A name that comes over a wire is known only when the run tells it. */
  get run() {
    return this.knownRun || String(this.nameWidget()?.value ?? "").trim();
  }

  answers(run, isNode) {
    const wired = this.node.inputs?.some((i) => i.name === "name" && i.link != null);
    return run ? (wired ? isNode : this.run === run) : isNode;
  }

  /** Everything from the run's files, and where it stands now. */
  async load() {
    const run = this.run;
    if (!run) return;
    const arrived = [];
    this.waiting.add(arrived);
    const answer = await api.fetchApi(`/ltx2/runs/${encoded(run)}/metrics`, { cache: "no-store" });
    const found = answer.ok ? await answer.json() : null;
    this.waiting.delete(arrived);
    if (!found || run !== this.run) return;
    this.chart.load(found);
    // What came by websocket while the answer was on its way.
    for (const event of arrived) this.chart.add(event.done, event.metrics);
    this.setPreviews(found.previews ?? []);
    if (found.live?.progress) this.tell(found.live.progress);
    if (found.live?.plan) this.planned(found.live.plan);
    this.setState(found.live?.state ?? "idle");
    this.chart.draw();
  }

  /** Not more than once in two seconds. */
  reload() {
    this.later ??= setTimeout(() => { this.later = null; this.load(); }, 2000);
  }

  progress(detail) {
    if (detail.run) this.knownRun = detail.run;
    this.tell(detail);
    if (detail.stage === "train" && detail.metrics) {
      this.chart.add(detail.done, detail.metrics);
      for (const list of this.waiting) list.push(detail);
    }
    if (detail.state && detail.state !== this.state) this.setState(detail.state);
    this.chart.draw();
  }

  /** What else the node does, such as a film, leaves the line of the run alone. */
  tell(event) {
    if (event.stage === "train") this.status.textContent = statusLine(event);
    else this.say(statusLine(event));
  }

  message(event) {
    this.say(said(event), event.level);
    this.reload();
  }

  runState({ run, state }) {
    this.knownRun = run;
    this.setState(state);
    if (state === "ended" || state === "running") this.load();
  }

  say(text, level = "info") {
    this.note.textContent = text;
    this.note.className = `ltx2-note ltx2-${level}`;
  }

  setState(state) {
    this.state = state;
    this.element.dataset.state = state;
    const run = this.run, live = ACTIVE.includes(state);
    this.element.setAttribute("aria-label", t("training_of", { run }));
    this.canvas.setAttribute("aria-label", t("chart_of", { run }));
    const first = state === "paused" ? "resume" : "pause";
    for (const [action, button] of Object.entries(this.buttons)) {
      const name = action === "pause" ? first : action;
      button.textContent = t(name);
      button.title = t(`${name}_of`, { run });
      button.setAttribute("aria-label", t(`${name}_of`, { run }));
      button.disabled = !live || (state === "pausing" && action === "pause") || (state !== "running" && action === "save");
    }
    this.notice.textContent = SAID.includes(state) ? t(state) : "";
    this.notice.hidden = !SAID.includes(state);
  }

  async press(action) {
    const answer = await api.fetchApi(`/ltx2/runs/${encoded(this.run)}/${action}`, { method: "POST" });
    if (answer.ok) return;  // the new state comes to every page as an event
    const found = await answer.json().catch(() => ({}));
    this.say(t("refused", { text: said(found, "error") ?? answer.status }), "error");
    this.load();
  }

  read(values) {
    const colours = paletteOf(this.canvas);
    const part = (name, text) => {
      const swatch = make("span", { class: "ltx2-swatch" });
      swatch.style.background = colours[name];
      return make("span", {}, swatch, text);
    };
    const label = (name) => t(name.replace(" ", "_"));
    const parts = values
      ? values.map(([name, step, value]) => part(name, `${label(name)} ${value.toPrecision(4)} @${step}`))
      : [...Object.keys(this.chart.series).map((name) => part(name, label(name))), part("preview", t("previews"))];
    this.reading.replaceChildren(...parts);
  }

  setPreviews(previews) {
    const fresh = previews.at(-1)?.file !== this.previews.at(-1)?.file;
    this.previews = previews;
    if (fresh) this.show(previews.filter((p) => p.step === previews.at(-1)?.step));
  }

  /** Plays the previews of one step in a loop, side by side; a picture is shown as it is. */
  show(previews) {
    const had = this.shown.length > 0;
    this.shown = previews.slice(0, MOST_SHOWN);
    this.figure.hidden = !this.shown.length;
    const step = this.shown[0]?.step;
    const caption = step === null ? t("preview") : t("preview_at", { step });
    const media = make("div", { class: "ltx2-media" }, ...this.shown.map((p) => this.media(p, `${caption} ${p.name}`)));
    this.figure.replaceChildren(...(this.shown.length ? [media, make("figcaption", {}, caption)] : []));
    this.element.style.minHeight = `${this.height()}px`;
    if (had !== this.shown.length > 0) fit(this.node);
  }

  media({ file }, text) {
    const source = api.apiURL(`/ltx2/runs/${encoded(this.run)}/previews/${encodeURIComponent(file)}`);
    if (!MOVING.test(file)) return make("img", { src: source, alt: text });
    const film = make("video", { src: source, loop: "", playsinline: "", controls: "", "aria-label": text, title: text });
    film.muted = true;
    film.autoplay = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    return film;
  }

  height() {
    return HEIGHT + (this.shown.length ? PREVIEW_HEIGHT : 0);
  }
}
