// Small helpers: elements, panels inside nodes that work in both renderers, nodes of all (sub)graphs.
import { app } from "../../scripts/app.js";

/** `make("p", { class: "x", title: "y" }, "text", child, …)`; text is never read as HTML. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function loadStyles() {
  const href = new URL("./studio.css", import.meta.url).href;
  document.head.append(make("link", { rel: "stylesheet", href }));
}

/** Puts `element` into the node, at least `height()` pixels high and never saved; `fixed` keeps it from growing. */
export function addPanel(node, name, element, height, fixed = false) {
  const limits = fixed ? { getMaxHeight: height } : {};
  const widget = node.addDOMWidget(name, name, element, { serialize: false, hideOnZoom: false, getMinHeight: height, ...limits });
  widget.serialize = false;
  element.style.minHeight = `${height()}px`;
  // The node itself is dragged with the pointer; what is pressed inside a panel is meant for the panel.
  for (const kind of ["pointerdown", "mousedown", "dblclick"]) element.addEventListener(kind, (e) => e.target.closest("button, canvas, video, ul, ol") && e.stopPropagation());
  fit(node);
  return widget;
}

/** Lets the node grow to what it now holds; it never shrinks what a person drew larger. */
export function fit(node) {
  const wanted = node.computeSize();
  if (wanted[1] > node.size[1]) node.setSize([Math.max(node.size[0], 320), wanted[1]]);
  node.setDirtyCanvas?.(true, true);
}

export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/** Every node, those inside subgraphs too. */
export function* allNodes(graph = rootGraph()) {
  for (const node of graph?.nodes ?? graph?._nodes ?? []) {
    yield node;
    if (node.subgraph) yield* allNodes(node.subgraph);
  }
}

/** Of an execution id: "12", or "5:12" for node 12 in the subgraph of node 5. */
export function nodeOf(id) {
  const parts = String(id ?? "").split(":");
  let graph = rootGraph();
  for (const part of parts.slice(0, -1)) graph = graph?.getNodeById(part)?.subgraph ?? graph?.getNodeById(Number(part))?.subgraph;
  const last = parts[parts.length - 1];
  return last ? graph?.getNodeById(last) ?? graph?.getNodeById(Number(last)) ?? null : null;
}
