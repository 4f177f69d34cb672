// A loss chart on a canvas element: raw points thin, a running mean over them, validation as dots, values under the pointer.
const COLOURS = { video: "#4c8dff", audio: "#f0a030", "validation video": "#2bb59a", "validation audio": "#e05a9a" };
const PAD = { left: 46, right: 10, top: 22, bottom: 20 };

export function smooth(points, window) {
  const out = [];
  let sum = 0;
  points.forEach(([step, value], i) => {
    sum += value - (i >= window ? points[i - window][1] : 0);
    out.push([step, sum / Math.min(i + 1, window)]);
  });
  return out;
}

export class LossChart {
  constructor(canvas) {
    this.canvas = canvas;
    this.pointer = null;
    this.clear();
    canvas.addEventListener("pointermove", (e) => { this.pointer = e.offsetX; this.draw(); });
    canvas.addEventListener("pointerleave", () => { this.pointer = null; this.draw(); });
  }

  clear() {
    this.series = { video: [], audio: [], "validation video": [], "validation audio": [] };
    this.line = "";
  }

  /** Everything a run has written so far. */
  load({ steps, validation }) {
    this.clear();
    for (const s of steps) this.add(s.step, s);
    for (const v of validation) this.validated(v);
    this.draw();
  }

  add(step, { video, audio }) {
    for (const [name, value] of [["video", video], ["audio", audio]]) {
      const points = this.series[name];
      // A run that goes on from a saved state repeats no step; one that was begun again starts over.
      while (points.length && points[points.length - 1][0] >= step) points.pop();
      if (Number.isFinite(value)) points.push([step, value]);
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
    return { last: Math.max(1, ...all.map((p) => p[0])), top };
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
    c.fillStyle = "#9aa";
    c.fillText(this.line, 6, 14, width - 12);
    const b = this.bounds();
    if (!b) return;
    const x = (step) => PAD.left + (step / b.last) * (width - PAD.left - PAD.right);
    const y = (value) => PAD.top + (1 - Math.min(value, b.top) / b.top) * (height - PAD.top - PAD.bottom);
    this.grid(c, b, x, y, width, height);
    for (const [name, points] of Object.entries(this.series)) this.curve(c, name, points, x, y);
    if (this.pointer !== null) this.read(c, b, x, y, width, height);
  }

  grid(c, b, x, y, width, height) {
    c.strokeStyle = "#3a3f44";
    for (let i = 0; i <= 4; i++) {
      const value = (b.top * i) / 4;
      c.beginPath();
      c.moveTo(PAD.left, y(value));
      c.lineTo(width - PAD.right, y(value));
      c.stroke();
      c.fillText(value.toPrecision(3), 4, y(value) + 4);
    }
    c.fillText(`step ${b.last}`, width - PAD.right - 60, height - 5, 60);
  }

  curve(c, name, points, x, y) {
    if (!points.length) return;
    c.strokeStyle = c.fillStyle = COLOURS[name];
    const trace = (list, alpha, thick) => {
      c.globalAlpha = alpha;
      c.lineWidth = thick;
      c.beginPath();
      list.forEach(([s, v], i) => (i ? c.lineTo(x(s), y(v)) : c.moveTo(x(s), y(v))));
      c.stroke();
      c.globalAlpha = 1;
    };
    if (name.startsWith("validation")) {
      trace(points, 0.8, 1);
      for (const [s, v] of points) c.fillRect(x(s) - 2.5, y(v) - 2.5, 5, 5);
      return;
    }
    trace(points, 0.3, 1);
    trace(smooth(points, Math.max(1, Math.floor(points.length / 30))), 1, 2);
  }

  read(c, b, x, y, width, height) {
    const step = ((this.pointer - PAD.left) / (width - PAD.left - PAD.right)) * b.last;
    const parts = [];
    for (const [name, points] of Object.entries(this.series)) {
      const near = points.reduce((best, p) => (!best || Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best), null);
      if (near) parts.push(`${name} ${near[1].toPrecision(4)} @${near[0]}`);
    }
    c.strokeStyle = "#889";
    c.beginPath();
    c.moveTo(this.pointer, PAD.top);
    c.lineTo(this.pointer, height - PAD.bottom);
    c.stroke();
    c.fillStyle = "#dde";
    c.fillText(parts.join("   "), PAD.left, height - 5, width - PAD.left - 80);
  }
}
