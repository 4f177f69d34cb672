// Widgets that a node calls advanced wait behind a button, in every front-end that the pack supports. Some front-ends know
// the mark and do this by themselves in one renderer; older ones ignore it.
import { app } from "../../scripts/app.js";
import { t } from "./strings.js";

const BUTTON = "ltx2_advanced";

const advanced = (node) => (node.widgets ?? []).filter((w) => w.options?.advanced);

function isLinked(node, widget) {
  return node.inputs?.some((i) => i.widget?.name === widget.name && i.link != null);
}

/** Brings what is shown in line with `node.showAdvanced`. */
function apply(node) {
  for (const widget of advanced(node)) {
    widget.advanced = true;
    // The renderer in HTML of older front-ends looks at this alone.
    if (!node.ltx2KnowsAdvanced) widget.options.hidden = !node.showAdvanced;
    // The one on the canvas leaves room for advanced widgets that it does not draw, unless they are hidden altogether.
    widget.hidden = !window.LiteGraph?.vueNodesMode && !node.showAdvanced;
  }
  const button = node.widgets.find((w) => w.name === BUTTON);
  if (button) button.label = t(node.showAdvanced ? "hide_advanced" : "show_advanced");
  const wanted = node.computeSize();
  node.setSize([Math.max(node.size[0], wanted[0]), wanted[1]]);
  node.setDirtyCanvas?.(true, true);
}

function toggle(node) {
  if (node.toggleAdvanced) node.toggleAdvanced();
  else node.showAdvanced = !node.showAdvanced;
  apply(node);
}

function addButton(node) {
  const button = node.addWidget("button", BUTTON, null, () => toggle(node));
  // Neither saved nor sent: the widgets of the node keep their places.
  button.serialize = false;
  button.options = { ...button.options, serialize: false };
  // Above the node's panel, whichever of the two scripts the page has read first.
  const panel = node.widgets.findIndex((w) => w !== button && w.name.startsWith("ltx2_"));
  if (panel >= 0) node.widgets.splice(panel, 0, node.widgets.pop());
}

app.registerExtension({
  name: "ltx2.advanced",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("LTX2") || !advanced(node).length) return;
    node.ltx2KnowsAdvanced = advanced(node).every((w) => w.advanced === true);
    // Where the front-end knows the mark, its renderer in HTML has a button of its own.
    if (!node.ltx2KnowsAdvanced || !window.LiteGraph?.vueNodesMode) addButton(node);
    const configured = node.onConfigure;
    node.onConfigure = function () {
      configured?.apply(this, arguments);
      // A wire into a hidden widget would end in nothing.
      if (advanced(this).some((w) => isLinked(this, w))) this.showAdvanced = true;
      apply(this);
    };
    apply(node);
  },
});
