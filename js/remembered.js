// What nodes showed when they last ran. The host keeps it in its history, but only when the whole graph has ended, and gives
// it only to the page that queued the run; this browser keeps it at once, so that a reload in the middle of a run loses nothing.
import { api } from "../../scripts/api.js";

const LAST = 20, KEPT = 12, KEY = "ltx2.shown";

/** Whether the prompt's node has the values that the canvas shows. */
function same(node, entry) {
  return entry?.class_type === node.comfyClass && (node.widgets ?? []).every((w) => !(w.name in entry.inputs) || Array.isArray(entry.inputs[w.name]) || entry.inputs[w.name] === w.value);
}

const stored = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");

/** Keeps what a node shows, for its present values; the newest 12 of all nodes stay. */
export function remember(node, output) {
  const inputs = Object.fromEntries((node.widgets ?? []).filter((w) => w.options?.serialize !== false && w.serialize !== false).map((w) => [w.name, w.value]));
  const entries = [...stored().filter((e) => !same(node, e)), { class_type: node.comfyClass, inputs, output }].slice(-KEPT);
  try {
    localStorage.setItem(KEY, JSON.stringify(entries));
  } catch {
    localStorage.removeItem(KEY); // full: the host's history still has what has ended
  }
}

/** [node, output] of those nodes that ran with their present values, here or in one of the host's last 20 prompts. */
export async function remembered(nodes) {
  if (!nodes.length) return [];
  const mine = stored().reverse();
  const answer = await api.fetchApi(`/history?max_items=${LAST}`);
  const entries = answer.ok ? Object.values(await answer.json()).reverse() : [];
  const found = nodes.map((node) => {
    const kept = mine.find((e) => same(node, e));
    if (kept) return [node, kept.output];
    for (const { prompt, outputs } of entries) {
      const id = Object.keys(outputs).find((key) => (outputs[key].ltx2_dataset || outputs[key].findings || outputs[key].ltx2_grid) && same(node, prompt[2][key]));
      if (id) return [node, outputs[id]];
    }
    return null;
  });
  return found.filter(Boolean);
}
