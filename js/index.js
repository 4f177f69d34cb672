// Shows in a node what the core is doing: stage, step and the last message. Plain ES module, no build step.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const EVENTS = ["ltx2.progress", "ltx2.message"];

function nodeOf(detail) {
  // Ids of nodes inside subgraphs are paths ("5:12"); the last part is the node on its own canvas.
  const id = String(detail.node ?? "").split(":").pop();
  return id ? app.graph.getNodeById(Number(id)) : null;
}

function describe(detail) {
  if (detail.text && detail.level) return detail.text;
  const numbers = Object.entries(detail.metrics ?? {}).map(([k, v]) => `${k} ${Number(v).toPrecision(3)}`);
  return `${detail.stage} ${detail.done}/${detail.total} ${numbers.join("  ") || detail.text || ""}`;
}

app.registerExtension({
  name: "ltx2.studio",
  setup() {
    for (const event of EVENTS) {
      api.addEventListener(event, ({ detail }) => {
        const node = nodeOf(detail);
        if (!node) return;
        node.ltx2Status = describe(detail);
        node.setDirtyCanvas(true, false);
      });
    }
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name?.startsWith("LTX2")) return;
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
