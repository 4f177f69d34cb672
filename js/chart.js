// A loss chart on a canvas element: raw points thin, a running mean over them, validation as squares, previews as marks.
import { paletteOf } from "./palette.js";

const PAD = { left: 46, right: 10, top: 8, bottom: 18 };
const NAMES = ["video", "audio", "validation video", "validation audio"];
const MOST_POINTS = 4000;

export function smooth(points, window) {
  const out = [];
  let sum = 0;
  points.forEach(([step, value], i) => {
    sum += value - (i >= window ? points[i - window][1] : 0);
    out.push([step, sum / Math.min(i + 1, window)]);
  });
  return out;
}

/** The point of a list in the order of its steps that is nearest to `step`. */
export function nearest(points, step) {
  let best = null;
  for (const p of points) if (!best || Math.abs(p[0] - step) < Math.abs(best[0] - step)) best = p;
  return best;
}

export class LossChart {
  /** `read` is given the values under the pointer, or null; `choose` the step of a preview that was clicked. */
  constructor(canvas, { read = () => {}, choose = () => {} } = {}) {
    this.canvas = canvas;
    this.report = read;
    this.choose = choose;
    this.cursor = null;
    this.clear();
    canvas.addEventListener("pointermove", (e) => this.point(this.stepAt(e.offsetX)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("blur", () => this.point(null));
    canvas.addEventListener("click", (e) => this.pick(this.stepAt(e.offsetX)));
    canvas.addEventListener("keydown", (e) => this.key(e));
  }

  clear() {
    this.series = Object.fromEntries(NAMES.map((name) => [name, []]));
    this.previews = [];
  }

  /** Everything a run has written so far. */
  load({ steps, validation, previews = [] }) {
    this.clear();
    for (const s of steps) this.add(s.step, s);
    for (const v of validation) this.validated(v);
    this.previews = previews.map((p) => p.step).filter(Number.isFinite);
    this.draw();
  }

  add(step, { video, audio }) {
    for (const [name, value] of [["video", video], ["audio", audio]]) {
      const points = this.series[name];
      // A run that goes on from a saved state repeats no step; one that was begun again starts over.
      while (points.length && points[points.length - 1][0] >= step) points.pop();
      if (Number.isFinite(value)) points.push([step, value]);
      if (points.length > MOST_POINTS) this.series[name] = points.filter((_, i) => i % 2 || i === points.length - 1);
    }
  }

  validated({ step, video, audio }) {
    if (Number.isFinite(video)) this.series["validation video"].push([step, video]);
    if (Number.isFinite(audio)) this.series["validation audio"].push([step, audio]);
  }

  bounds() {
    const all = Object.values(this.series).flat();
    if (!all.length) return null;
    const values = all.map((p) => p[1]).sort((a, b) => a - b);
    // One bad step must not flatten the rest.
    const top = values[Math.floor(0.98 * (values.length - 1))] * 1.1 || 1;
    return { last: all.reduce((most, p) => Math.max(most, p[0]), 1), top };
  }

  stepAt(pixel) {
    const b = this.bounds();
    return b && ((pixel - PAD.left) / (this.canvas.clientWidth - PAD.left - PAD.right)) * b.last;
  }

  key(event) {
    const b = this.bounds();
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (b && way) this.point((this.cursor ?? (way > 0 ? 0 : b.last)) + (way * b.last) / 40);
    else if (b && event.key === "Enter" && this.cursor !== null) this.pick(this.cursor);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  point(step) {
    const b = this.bounds();
    this.cursor = b && step !== null ? Math.min(b.last, Math.max(0, step)) : null;
    this.report(this.cursor === null ? null : this.values(this.cursor));
    this.draw();
  }

  pick(step) {
    const b = this.bounds();
    const found = b && nearest(this.previews.map((s) => [s]), step);
    if (found && Math.abs(found[0] - step) < b.last / 25) this.choose(found[0]);
  }

  /** [series, step, value] of each series near `step`. */
  values(step) {
    return NAMES.map((name) => [name, nearest(this.series[name], step)]).filter(([, p]) => p).map(([name, p]) => [name, ...p]);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !height) return;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const c = this.canvas.getContext("2d");
    c.scale(ratio, ratio);
    c.font = "11px sans-serif";
    const b = this.bounds();
    if (!b) return;
    const view = {
      c, b, width, height, colours: paletteOf(this.canvas),
      x: (step) => PAD.left + (step / b.last) * (width - PAD.left - PAD.right),
      y: (value) => PAD.top + (1 - Math.min(value, b.top) / b.top) * (height - PAD.top - PAD.bottom),
    };
    this.grid(view);
    for (const step of this.previews) this.mark(view, step);
    for (const name of NAMES) this.curve(view, name);
    if (this.cursor !== null) this.line(view, this.cursor);
  }

  grid({ c, b, x, y, width, height, colours }) {
    c.strokeStyle = colours.grid;
    c.fillStyle = colours.text;
    c.textAlign = "left";
    for (let i = 0; i <= 4; i++) {
      const value = (b.top * i) / 4;
      c.beginPath();
      c.moveTo(PAD.left, y(value));
      c.lineTo(width - PAD.right, y(value));
      c.stroke();
      c.fillText(value.toPrecision(3), 4, y(value) + 4);
    }
    c.fillText("0", x(0), height - 4);
    c.textAlign = "right";
    c.fillText(String(b.last), width - PAD.right, height - 4);
    c.textAlign = "left";
  }

  mark({ c, x, height, colours }, step) {
    const at = x(step), foot = height - PAD.bottom;
    c.fillStyle = colours.preview;
    c.beginPath();
    c.moveTo(at, foot - 7);
    c.lineTo(at - 5, foot + 2);
    c.lineTo(at + 5, foot + 2);
    c.fill();
  }

  curve({ c, x, y, colours }, name) {
    const points = this.series[name];
    if (!points.length) return;
    c.strokeStyle = c.fillStyle = colours[name];
    const trace = (list, alpha, thick) => {
      c.globalAlpha = alpha;
      c.lineWidth = thick;
      c.beginPath();
      list.forEach(([s, v], i) => (i ? c.lineTo(x(s), y(v)) : c.moveTo(x(s), y(v))));
      c.stroke();
      c.globalAlpha = 1;
      c.lineWidth = 1;
    };
    if (name.startsWith("validation")) {
      trace(points, 0.8, 1);
      for (const [s, v] of points) c.fillRect(x(s) - 2.5, y(v) - 2.5, 5, 5);
      return;
    }
    trace(points, 0.3, 1);
    trace(smooth(points, Math.max(5, Math.floor(points.length / 25))), 1, 2);
  }

  line({ c, x, height, colours }, step) {
    c.strokeStyle = colours.cursor;
    c.beginPath();
    c.moveTo(x(step), PAD.top);
    c.lineTo(x(step), height - PAD.bottom);
    c.stroke();
  }
}
