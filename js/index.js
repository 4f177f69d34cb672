// Shows in the nodes what the core is doing. Plain ES modules, no build step; both of the host's node renderers.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, allNodes, loadStyles, make, nodeOf } from "./dom.js";
import { Findings, isFindings } from "./findings.js";
import { Grid } from "./grid.js";
import { MemoryBar } from "./memory_bar.js";
import { paletteOf } from "./palette.js";
import { remember, remembered } from "./remembered.js";
import { said } from "./strings.js";
import { Strip } from "./strip.js";
import { statusLine, TrainPanel } from "./train_panel.js";

const TRAIN = "LTX2TrainLoRA", MEMORY = "LTX2MemorySettings", DATASET = "LTX2VideoDataset", PREFLIGHT = "LTX2Preflight", VALIDATE = "LTX2Validate";
const REMEMBERED = [DATASET, PREFLIGHT, VALIDATE];
const strip = (node) => (node.ltx2Strip ??= new Strip(node));
const memoryBar = (node) => (node.ltx2Memory ??= new MemoryBar(node));
const findings = (node) => (node.ltx2Findings ??= new Findings(node));
const grid = (node) => (node.ltx2Grid ??= new Grid(node));
const SEGMENT = "LTX2TrainSegment";
const trainPanel = (node) => (node.ltx2Train = new TrainPanel(node, (plan) => showPlan(node, plan)));
const PANELS = { [DATASET]: strip, [MEMORY]: memoryBar, [PREFLIGHT]: findings, [VALIDATE]: grid, [TRAIN]: trainPanel, [SEGMENT]: trainPanel };
const panels = () => [...allNodes()].filter((n) => n.ltx2Train);

/** The panels of an event's run; without a run, that of its node. */
function panelsOf(detail) {
  const node = nodeOf(detail.node);
  return panels().filter((n) => n.ltx2Train.answers(detail.run, n === node)).map((n) => n.ltx2Train);
}

function shortened(context, text, width) {
  let length = text.length;
  while (length > 1 && context.measureText(text.slice(0, length)).width > width) length = Math.floor(length * 0.9);
  return length < text.length ? `${text.slice(0, length)}…` : text;
}

/** The newer renderer draws nodes as HTML, where the canvas cannot be drawn on. */
function showLine(node, text) {
  node.ltx2Status = text;
  if (window.LiteGraph?.vueNodesMode) {
    node.ltx2Line ??= addPanel(node, "ltx2_line", make("p", { class: "ltx2-line" }), () => 20, true).element;
    node.ltx2Line.textContent = text;
  }
  node.setDirtyCanvas(true, false);
}

function onProgress({ detail }) {
  const found = panelsOf(detail);
  for (const panel of found) panel.progress(detail);
  const node = nodeOf(detail.node);
  if (!found.length && node?.comfyClass?.startsWith("LTX2") && !node.ltx2Train) showLine(node, statusLine(detail));
}

function onMessage({ detail }) {
  const found = panelsOf(detail);
  for (const panel of found) panel.message(detail);
  const node = nodeOf(detail.node);
  // A dataset's sentences stand in its strip.
  if (!found.length && node?.comfyClass?.startsWith("LTX2") && !node.ltx2Train && !node.ltx2Strip) showLine(node, said(detail));
}

/** What the host is about to say of a node of ours that failed, in this page's language. */
let failure = null;
function onError({ detail }) {
  if (failure?.prompt_id === detail.prompt_id && detail.exception_message?.trim() === failure.shown.trim()) detail.exception_message = said(failure);
}

/** The node that is wired to `name` of `node`, through reroutes. */
function origin(node, name) {
  const slot = node.inputs?.findIndex((i) => i.name === name) ?? -1;
  for (let at = slot < 0 ? null : node.getInputNode(slot); at; at = at.getInputNode?.(0)) if (at.comfyClass === MEMORY) return at;
  return null;
}

function showPlan(train, plan) {
  const node = origin(train, "memory");
  if (node) memoryBar(node).show(plan);
  tint();
}

function onPlan({ detail }) {
  for (const panel of panelsOf(detail)) {
    showPlan(panel.node, detail);
    panel.say(said(detail));
  }
}

function onExecuted(node, output) {
  if (output?.ltx2_dataset?.[0]) {
    strip(node).show(output.ltx2_dataset[0]);
    if (node.ltx2Status) showLine(node, ""); // the last file that was looked at tells nothing any more
  }
  if (isFindings(output?.findings)) findings(node).show(output.findings);
  if (output?.ltx2_grid?.length) grid(node).show(output.ltx2_grid);
  node.ltx2Train?.load();
  tint();
}

/** Once for all nodes of a graph that is being opened. */
let restoring = null;
function restoreSoon() {
  restoring ??= setTimeout(async () => {
    restoring = null;
    const waiting = [...allNodes()].filter((n) => REMEMBERED.includes(n.comfyClass));
    for (const [node, output] of await remembered(waiting)) onExecuted(node, output);
  }, 500);
}

/** Panels keep to the host's palette, also when it is changed while they are shown. */
function tint() {
  for (const element of document.querySelectorAll(".ltx2-panel")) element.classList.toggle("ltx2-light", paletteOf(element).light);
  for (const node of panels()) {
    node.ltx2Train.read(null);
    node.ltx2Train.chart.draw();
  }
}

// At once, since a page that is opened during a run gets its events before extensions are set up.
api.addEventListener("ltx2.progress", onProgress);
api.addEventListener("ltx2.message", onMessage);
api.addEventListener("ltx2.plan", onPlan);
api.addEventListener("ltx2.error", ({ detail }) => { failure = detail; });
api.addEventListener("execution_error", onError);
api.addEventListener("ltx2.run", ({ detail }) => panelsOf(detail).forEach((panel) => panel.runState(detail)));
api.addEventListener("ltx2.preview", ({ detail }) => panelsOf(detail).forEach((panel) => panel.load()));

app.registerExtension({
  name: "ltx2.studio",
  setup() {
    loadStyles();
    api.addEventListener("reconnected", () => panels().forEach((n) => n.ltx2Train.load()));
    new MutationObserver(() => requestAnimationFrame(tint)).observe(document.documentElement, { attributes: true });
    new MutationObserver(() => requestAnimationFrame(tint)).observe(document.body, { attributes: true, attributeFilter: ["class", "style"] });
  },
  nodeCreated(node) {
    if (!(node.comfyClass in PANELS)) return;
    PANELS[node.comfyClass](node);
    // Widgets get their saved values, and the page its element, after the node is made.
    setTimeout(() => { node.ltx2Train?.load(); tint(); }, 300);
    restoreSoon();
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name?.startsWith("LTX2")) return;
    const { onDrawForeground: draw, onExecuted: executed } = nodeType.prototype;
    nodeType.prototype.onExecuted = function (output) {
      executed?.apply(this, arguments);
      onExecuted(this, output);
      if (output && REMEMBERED.includes(nodeData.name)) remember(this, output);
    };
    nodeType.prototype.onDrawForeground = function (context) {
      draw?.apply(this, arguments);
      if (!this.ltx2Status || this.flags.collapsed || window.LiteGraph?.vueNodesMode) return;
      context.save();
      context.font = "11px sans-serif";
      context.fillStyle = window.LiteGraph?.NODE_TEXT_COLOR ?? "#aaa";
      context.fillText(shortened(context, this.ltx2Status, this.size[0] - 16), 8, this.size[1] + 14);
      context.restore();
    };
  },
});
