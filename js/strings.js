// What the panels say, in the host's language. English is the measure: every other table has the same keys (tested).
import { app } from "../../scripts/app.js";

export const STRINGS = {
  en: {
    pause: "Pause", resume: "Resume", save: "Save now", stop: "Stop & save",
    pause_of: "Pause the training of {run}", resume_of: "Resume the training of {run}",
    save_of: "Save the state of {run} now and go on", stop_of: "Stop {run}, save it and hand on the LoRA as it is",
    training_of: "Training of {run}", chart_of: "Losses of {run}", preview_at: "Preview at step {step}", preview: "Preview",
    idle: "No run of this name is training.", pausing: "Pausing after this step.", saving: "Saving after this step.",
    stopping: "Stopping after this step; the state is saved.", ended: "Training has ended.",
    paused: "Paused and saved; the weights are off the device. The queue waits until you press Resume or Cancel.",
    refused: "The host refused: {text}", step: "step {done}/{total}", pace: "{seconds} s/step", left: "{time} left",
    memory: "{used} of {total} GiB", loss: "loss {value}", empty: "The losses appear here when training begins.", no_clips: "The clips appear here when the graph runs.",
    no_plan: "The plan of the run appears here when training begins.", unchecked: "The findings appear here when the graph runs.",
    video: "video", audio: "sound", validation_video: "validation video", validation_audio: "validation sound", previews: "preview",
    clips: "{clips} clips, {sound} with sound, {dropped} left out", more: "and {count} more", left_out: "Left out", clip_list: "Clips of the dataset",
    with_sound: "with sound", silent: "without sound", plan_of: "Memory of the run", weights: "weights", adapter: "adapter",
    optimizer: "optimizer", activations: "activations", free: "free", over: "over by", findings: "Findings", no_findings: "Nothing was found.",
    error: "error", warning: "warning", info: "note", ok: "fine",
    grid: "Validation grid", no_grid: "The grid appears here when the graph has run.", page_of: "Page {page} of {count}", previous: "Previous page", next: "Next page",
    stage_scan: "scan", stage_captions: "captions", stage_latents: "latents", stage_masks: "masks", stage_crepa: "crepa", stage_preview: "preview",
    stage_sample: "sample", stage_decode: "decode", stage_validate: "validate", stage_download: "download",
    show_advanced: "Show advanced inputs", hide_advanced: "Hide advanced inputs",
  },
  ja: {
    pause: "一時停止", resume: "再開", save: "今すぐ保存", stop: "停止して保存",
    pause_of: "{run} の学習を一時停止", resume_of: "{run} の学習を再開",
    save_of: "{run} の状態を今保存して続ける", stop_of: "{run} を停止して保存し、今の LoRA を渡す",
    training_of: "{run} の学習", chart_of: "{run} の損失", preview_at: "ステップ {step} のプレビュー", preview: "プレビュー",
    idle: "この名前の学習は動いていません。", pausing: "このステップの後で一時停止します。", saving: "このステップの後で保存します。",
    stopping: "このステップの後で停止します。状態は保存されます。", ended: "学習は終わりました。",
    paused: "一時停止し、保存しました。重みはデバイスから外れています。再開かキャンセルを押すまでキューは待ちます。",
    refused: "ホストが断りました: {text}", step: "ステップ {done}/{total}", pace: "{seconds} 秒/ステップ", left: "残り {time}",
    memory: "{total} GiB 中 {used}", loss: "損失 {value}", empty: "学習が始まると、ここに損失が表示されます。", no_clips: "グラフを実行すると、ここにクリップが表示されます。",
    no_plan: "学習が始まると、ここに計画が表示されます。", unchecked: "グラフを実行すると、ここに結果が表示されます。",
    video: "映像", audio: "音声", validation_video: "検証 映像", validation_audio: "検証 音声", previews: "プレビュー",
    clips: "クリップ {clips}、音声あり {sound}、除外 {dropped}", more: "ほか {count} 件", left_out: "除外", clip_list: "データセットのクリップ",
    with_sound: "音声あり", silent: "音声なし", plan_of: "学習のメモリ", weights: "重み", adapter: "アダプター",
    optimizer: "オプティマイザー", activations: "活性値", free: "空き", over: "超過", findings: "結果", no_findings: "何も見つかりませんでした。",
    error: "エラー", warning: "警告", info: "注記", ok: "問題なし",
    grid: "検証グリッド", no_grid: "グラフの実行が終わると、ここにグリッドが表示されます。", page_of: "{count} ページ中 {page}", previous: "前のページ", next: "次のページ",
    stage_scan: "調査", stage_captions: "キャプション", stage_latents: "潜在", stage_masks: "マスク", stage_crepa: "CREPA", stage_preview: "プレビュー",
    stage_sample: "サンプリング", stage_decode: "デコード", stage_validate: "検証", stage_download: "ダウンロード",
    show_advanced: "詳細設定を表示", hide_advanced: "詳細設定を隠す",
  },
  zh: {
    pause: "暂停", resume: "继续", save: "立即保存", stop: "停止并保存",
    pause_of: "暂停 {run} 的训练", resume_of: "继续 {run} 的训练",
    save_of: "立即保存 {run} 的状态并继续", stop_of: "停止并保存 {run}，输出当前的 LoRA",
    training_of: "{run} 的训练", chart_of: "{run} 的损失", preview_at: "第 {step} 步的预览", preview: "预览",
    idle: "没有以此名称运行的训练。", pausing: "此步之后暂停。", saving: "此步之后保存。",
    stopping: "此步之后停止，状态会保存。", ended: "训练已结束。",
    paused: "已暂停并保存，权重已移出设备。在按下继续或取消之前，队列会等待。",
    refused: "主机拒绝：{text}", step: "第 {done}/{total} 步", pace: "{seconds} 秒/步", left: "剩余 {time}",
    memory: "{used} / {total} GiB", loss: "损失 {value}", empty: "训练开始后，损失会显示在这里。", no_clips: "运行此图后，片段会显示在这里。",
    no_plan: "训练开始后，计划会显示在这里。", unchecked: "运行此图后，检查结果会显示在这里。",
    video: "视频", audio: "声音", validation_video: "验证 视频", validation_audio: "验证 声音", previews: "预览",
    clips: "{clips} 个片段，{sound} 个有声音，{dropped} 个被排除", more: "另有 {count} 个", left_out: "被排除", clip_list: "数据集的片段",
    with_sound: "有声音", silent: "无声音", plan_of: "训练的内存", weights: "权重", adapter: "适配器",
    optimizer: "优化器", activations: "激活", free: "空闲", over: "超出", findings: "检查结果", no_findings: "没有发现问题。",
    error: "错误", warning: "警告", info: "提示", ok: "正常",
    grid: "验证网格", no_grid: "运行完此图后，网格会显示在这里。", page_of: "第 {page} 页，共 {count} 页", previous: "上一页", next: "下一页",
    stage_scan: "检查", stage_captions: "字幕", stage_latents: "潜在", stage_masks: "遮罩", stage_crepa: "CREPA", stage_preview: "预览",
    stage_sample: "采样", stage_decode: "解码", stage_validate: "验证", stage_download: "下载",
    show_advanced: "显示高级输入", hide_advanced: "隐藏高级输入",
  },
};

function language() {
  const locale = String(app.ui?.settings?.getSettingValue?.("Comfy.Locale") ?? "en");
  return [locale, locale.split("-")[0]].find((name) => name in STRINGS) ?? "en";
}

/** What the core said under `key` of an event or an output, which bring their sentences in every language. */
export function said(event, key = "text") {
  return event.said?.[language()]?.[key] ?? event[key];
}

/** The sentence of `key` with {names} filled in; a key that nobody knows stands for itself. */
export function t(key, values = {}) {
  return (STRINGS[language()][key] ?? STRINGS.en[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  return seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function gib(bytes) {
  return (bytes / 2 ** 30).toFixed(1);
}
