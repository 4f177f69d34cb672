// A strip of the clips of a dataset: picture, caption, bucket, length; and what was left out and why.
import { api } from "../../scripts/api.js";
import { addPanel, make } from "./dom.js";
import { said, t } from "./strings.js";

const HEIGHT = 205;

const nothing = (sign) => make("div", { class: "ltx2-nothing", "aria-hidden": "true" }, sign);

function picture({ image }, caption) {
  if (!image) return nothing("♪");
  const query = new URLSearchParams({ filename: image.filename, subfolder: image.subfolder, type: image.type });
  const shown = make("img", { src: api.apiURL(`/view?${query}`), alt: caption, loading: "lazy", draggable: "false" });
  // The host clears its temp folder when it starts anew.
  shown.addEventListener("error", () => shown.replaceWith(nothing("▢")));
  return shown;
}

function clip(item) {
  const facts = `${item.bucket} · ${item.seconds.toFixed(2)} s · ${t(item.sound ? "with_sound" : "silent")}`;
  const caption = said(item, "caption");
  const title = `${item.name}\n${facts}\n${caption}`;
  return make("li", { class: "ltx2-clip", title, tabindex: "0" }, picture(item, caption), make("p", { class: "ltx2-caption" }, caption), make("p", { class: "ltx2-facts" }, facts));
}

export class Strip {
  constructor(node) {
    this.element = make("section", { class: "ltx2-panel ltx2-strip", "aria-label": t("clip_list") }, make("p", { class: "ltx2-status" }, t("no_clips")));
    addPanel(node, "ltx2_strip", this.element, () => HEIGHT);
  }

  show({ clips, count, sound, dropped, dropped_count }) {
    const head = make("p", { class: "ltx2-status" }, t("clips", { clips: count, sound, dropped: dropped_count }));
    const list = make("ul", { class: "ltx2-clips" }, ...clips.map(clip));
    if (count > clips.length) list.append(make("li", { class: "ltx2-more" }, t("more", { count: count - clips.length })));
    const lost = make("ul", { class: "ltx2-dropped", "aria-label": t("left_out"), tabindex: "0" }, ...dropped.map((d) => make("li", {}, make("b", {}, d.name), ` ${said(d, "reason")}`)));
    if (dropped_count > dropped.length) lost.append(make("li", {}, t("more", { count: dropped_count - dropped.length })));
    this.element.replaceChildren(head, list, ...(dropped.length ? [lost] : []));
  }
}
