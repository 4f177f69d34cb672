// Shows in a node what the core is doing; in Train LoRA with a live loss chart. Plain ES modules, no build step.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { LossChart } from "./chart.js";

const TRAIN = "LTX2TrainLoRA";
const CHART_HEIGHT = 180;

function nodeOf(detail) {
  // Ids of nodes inside subgraphs are paths ("5:12"); the last part is the node on its own canvas.
  const id = String(detail.node ?? "").split(":").pop();
  return id ? app.graph.getNodeById(Number(id)) : null;
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  return seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function describe(detail) {
  if (detail.level) return detail.text;
  const numbers = Object.entries(detail.metrics ?? {}).filter(([k]) => ["loss", "video", "audio"].includes(k));
  const shown = numbers.map(([k, v]) => `${k} ${Number(v).toPrecision(3)}`).join("  ");
  return `${detail.stage} ${detail.done}/${detail.total}  ${shown || detail.text || ""}`;
}

/** Seconds a step and time left, from the arrival of the last events. */
function pace(node, detail) {
  const now = performance.now() / 1000;
  const seen = (node.ltx2Pace ??= []);
  if (seen.length && seen[seen.length - 1].done >= detail.done) seen.length = 0;
  seen.push({ done: detail.done, now });
  if (seen.length > 30) seen.shift();
  const first = seen[0];
  if (detail.done === first.done) return "";
  const each = (now - first.now) / (detail.done - first.done);
  return `  ${each.toPrecision(3)} s a step, ${duration(each * (detail.total - detail.done))} left`;
}

async function loadRun(node) {
  const name = node.widgets?.find((w) => w.name === "name")?.value;
  if (!name || !node.ltx2Chart) return;
  const answer = await api.fetchApi(`/ltx2/runs/${name.split("/").map(encodeURIComponent).join("/")}/metrics`);
  if (answer.ok) node.ltx2Chart.load(await answer.json());
}

function addChart(node) {
  const canvas = document.createElement("canvas");
  canvas.style.width = "100%";
  canvas.style.height = "100%";
  node.addDOMWidget("ltx2_chart", "ltx2_chart", canvas, { serialize: false, getMinHeight: () => CHART_HEIGHT, hideOnZoom: false });
  node.ltx2Chart = new LossChart(canvas);
  new ResizeObserver(() => node.ltx2Chart.draw()).observe(canvas);
  // Widgets get their saved values after the node is made.
  setTimeout(() => loadRun(node), 300);
}

function onEvent({ detail }) {
  const node = nodeOf(detail);
  if (!node) return;
  const training = detail.stage === "train";
  node.ltx2Status = describe(detail) + (training ? pace(node, detail) : "");
  const chart = node.ltx2Chart;
  if (chart) {
    chart.line = node.ltx2Status;
    if (training && detail.metrics) chart.add(detail.done, detail.metrics);
    // Validation losses come as a sentence; the file has their numbers.
    if (detail.level && /validation/i.test(detail.text)) loadRun(node).then(() => (chart.line = node.ltx2Status));
    chart.draw();
  }
  node.setDirtyCanvas(true, false);
}

app.registerExtension({
  name: "ltx2.studio",
  setup() {
    api.addEventListener("ltx2.progress", onEvent);
    api.addEventListener("ltx2.message", onEvent);
    api.addEventListener("executed", ({ detail }) => {
      const node = nodeOf(detail);
      if (node?.ltx2Chart) loadRun(node);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass === TRAIN) addChart(node);
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name?.startsWith("LTX2") || nodeData.name === TRAIN) return;
    const draw = nodeType.prototype.onDrawForeground;
    nodeType.prototype.onDrawForeground = function (context) {
      draw?.apply(this, arguments);
      if (!this.ltx2Status || this.flags.collapsed) return;
      context.save();
      context.font = "11px sans-serif";
      context.fillStyle = "#9ab";
      context.fillText(this.ltx2Status, 8, this.size[1] + 14, this.size[0] - 16);
      context.restore();
    };
  },
});
