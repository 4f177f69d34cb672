// What nodes showed when they last ran: the host keeps it in its history, but gives it only to the page that queued the run.
import { api } from "../../scripts/api.js";

const LAST = 20;

/** Whether the prompt's node has the values that the canvas shows. */
function same(node, entry) {
  return entry?.class_type === node.comfyClass && (node.widgets ?? []).every((w) => !(w.name in entry.inputs) || Array.isArray(entry.inputs[w.name]) || entry.inputs[w.name] === w.value);
}

/** [node, output] of those nodes that ran with their present values in one of the last 20 prompts, the newest first found. */
export async function remembered(nodes) {
  if (!nodes.length) return [];
  const answer = await api.fetchApi(`/history?max_items=${LAST}`);
  if (!answer.ok) return [];
  const entries = Object.values(await answer.json()).reverse();
  const found = nodes.map((node) => {
    for (const { prompt, outputs } of entries) {
      const id = Object.keys(outputs).find((key) => (outputs[key].ltx2_dataset || outputs[key].findings) && same(node, prompt[2][key]));
      if (id) return [node, outputs[id]];
    }
    return null;
  });
  return found.filter(Boolean);
}
