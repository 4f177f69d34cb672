// The memory of a run as a bar: weights, adapter, optimizer, activations, free.
import { addPanel, make } from "./dom.js";
import { gib, said, t } from "./strings.js";

const PARTS = ["weights", "adapter", "optimizer", "activations"];
const HEIGHT = 130;

/** [name, bytes, share of the whole] of each part, what is free, or by how much the plan is over. */
export function shares(plan) {
  const used = PARTS.reduce((sum, name) => sum + plan[name], 0);
  const whole = Math.max(used, plan.device);
  const parts = PARTS.map((name) => [name, plan[name], plan[name] / whole]);
  if (plan.device > used) parts.push(["free", plan.device - used, (plan.device - used) / whole]);
  return parts;
}

export class MemoryBar {
  constructor(node) {
    this.element = make("section", { class: "ltx2-panel ltx2-memory", "aria-label": t("plan_of") }, make("p", { class: "ltx2-status" }, t("no_plan")));
    addPanel(node, "ltx2_plan", this.element, () => HEIGHT, true);
  }

  show(plan) {
    const parts = shares(plan);
    const readings = parts.map(([name, bytes]) => `${t(name)} ${gib(bytes)} GiB`);
    const used = PARTS.reduce((sum, name) => sum + plan[name], 0);
    if (used > plan.device) readings.push(`${t("over")} ${gib(used - plan.device)} GiB`);
    const bar = make("div", { class: "ltx2-bar", role: "img", "aria-label": `${t("plan_of")}: ${readings.join(", ")}` });
    for (const [name, , share] of parts) {
      const piece = make("span", { class: `ltx2-part ltx2-part-${name}` });
      piece.style.flexGrow = share;
      bar.append(piece);
    }
    const legend = make("p", { class: "ltx2-reading" });
    readings.forEach((text, i) => legend.append(make("span", {}, make("span", { class: `ltx2-swatch ltx2-part-${parts[i]?.[0] ?? "over"}` }), text)));
    this.element.replaceChildren(make("p", { class: "ltx2-status" }, said(plan)), bar, legend);
  }
}
