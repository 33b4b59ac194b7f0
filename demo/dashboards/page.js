// Draws one dashboard. Panels stand where their JSON says; units are written as Grafana writes them.
"use strict";

const PALETTE = ["#3f8f4f", "#3572c6", "#e0752d", "#8f3bb8", "#c4162a", "#1a9aa0", "#b58a00", "#d6568f", "#5b6b7f", "#7a5c3e"];
const MUTED = "#6b7280";
const LINE = "#e9ecec";
const LIMIT = "#d0353f";
const FONT = '12px Inter, "Liberation Sans", sans-serif';

const trimmed = (value, digits) => String(Number(value.toFixed(digits)));
const digitsOf = (step) => Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(step || 1))));

function scaled(value, steps) {
  let [best, name] = steps[0];
  for (const [factor, unit] of steps) if (Math.abs(value) >= factor) [best, name] = [factor, unit];
  return [value / best, name, best];
}

const SECONDS = [[1e-6, " µs"], [1e-3, " ms"], [1, " s"], [60, " min"], [3600, " hour"], [86400, " day"]];
const ROUND_SECONDS = [1e-6, 1e-5, 1e-4, 1e-3].flatMap((one) => [one, 2 * one, 5 * one])
  .concat([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400]);
const THOUSANDS = [[1, ""], [1e3, " K"], [1e6, " Mil"]];
const BYTES = [[1, " B/s"], [1e3, " kB/s"], [1e6, " MB/s"], [1e9, " GB/s"]];

// All ticks of an axis are written in one unit: that of the highest.
function written(unit, values) {
  const most = Math.max(...values.map(Math.abs));
  const step = values.length > 1 ? values[1] - values[0] : most;
  const by = ([, name, factor]) => values.map((value) => (value === 0 ? `0${name.replace(/^ (K|Mil)/, "")}` : trimmed(value / factor, digitsOf(step / factor)) + name));
  switch (unit) {
    case "percentunit": return values.map((value) => `${trimmed(value * 100, digitsOf(step * 100))}%`);
    case "s": return by(scaled(most, SECONDS));
    case "Bps": return by(scaled(most, BYTES));
    case "ops": return by(scaled(most, THOUSANDS.map(([factor, name]) => [factor, `${name} ops/s`])));
    case "reqps": return by(scaled(most, THOUSANDS.map(([factor, name]) => [factor, `${name} req/s`])));
    case "short": return by(scaled(most, THOUSANDS));
    default: throw new Error(`no such unit here: ${unit}`);
  }
}

function element(parent, name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  parent.append(made);
  return made;
}

const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);

// What happened: a band or a line over the plot, with its number above.
function marks(moments, limits) {
  return (chart) => {
    const { ctx, bbox } = chart;
    const ratio = devicePixelRatio;
    ctx.save();
    moments.forEach(({ begin, end }, at) => {
      const [from, to] = [begin, end ?? begin].map((x) => chart.valToPos(x, "x", true));
      ctx.fillStyle = "#3d4a5c18";
      ctx.fillRect(from, bbox.top, Math.max(to - from, ratio), bbox.height);
      ctx.fillStyle = "#3d4a5c99";
      ctx.fillRect(from, bbox.top, ratio, bbox.height);
      ctx.font = `600 ${10 * ratio}px Inter, sans-serif`;
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      ctx.fillStyle = "#3d4a5c";
      ctx.fillText(String(at + 1), from + 3 * ratio, bbox.top + ratio);
    });
    ctx.strokeStyle = LIMIT;
    ctx.lineWidth = 1.3 * ratio;
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    for (const limit of limits) {
      const y = chart.valToPos(limit, "y", true);
      if (y < bbox.top) continue;
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  };
}

function chartOf(box, panel, x, moments) {
  const colour = (at) => PALETTE[at % PALETTE.length];
  const series = panel.lines.map((one, at) => ({
    label: one.label, stroke: colour(at), width: 1.5, points: { show: false },
    fill: colour(at) + Math.round(panel.fill * 255).toString(16).padStart(2, "0"), spanGaps: false,
  }));
  const axis = { stroke: MUTED, font: FONT, grid: { stroke: LINE, width: 1 }, ticks: { show: false } };
  const widest = (chart, values) => {
    chart.ctx.font = FONT;
    return values ? Math.ceil(Math.max(...values.map((one) => chart.ctx.measureText(one).width))) + 14 : 40;
  };
  const range = (_, low, high) => {
    const top = panel.max ?? (high > 0 ? high * 1.08 : 1);
    return [panel.min ?? low, top];
  };
  return new uPlot({
    width: box.clientWidth, height: box.clientHeight, series: [{}, ...series], legend: { show: false }, cursor: { show: false },
    padding: [8, 12, 0, 2],
    scales: { x: { time: true, range: [x[0], x.at(-1)] }, y: { range } },
    axes: [
      { ...axis, size: 24, gap: 4, space: 30, incrs: [600, 1200], values: (_, xs) => xs.map(clock) },
      { ...axis, size: widest, gap: 5, space: 32, ...(panel.unit === "s" ? { incrs: ROUND_SECONDS } : {}), values: (_, values) => written(panel.unit, values) },
    ],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    hooks: { draw: [marks(moments, panel.limits)] },
  }, [x, ...panel.lines.map((one) => one.y)], box);
}

function draw({ title, when, x, moments, panels }) {
  document.querySelector("h1").textContent = title;
  document.querySelector(".when").textContent = when;
  const list = document.querySelector(".moments");
  moments.forEach(({ begin, end, what }, at) => {
    const item = element(list, "li");
    element(item, "span", String(at + 1), "number");
    item.append(what);
    element(item, "span", end ? `${clock(begin)}–${clock(end)}` : clock(begin), "at");
  });
  const main = document.querySelector("main");
  for (const panel of panels) {
    const { x: column, y: row, w: width, h: height } = panel.at;
    const section = element(main, "section");
    section.style.gridArea = `${row + 1} / ${column + 1} / span ${height} / span ${width}`;
    element(section, "h2", panel.title);
    if (!panel.lines.length) {
      const nothing = element(section, "div", "", "nothing");
      element(nothing, "b", "No data");
      if (panel.why) element(nothing, "span", panel.why);
      continue;
    }
    const box = element(section, "div", "", "plot");
    const legend = element(section, "div", "", "legend");
    panel.lines.forEach((one, at) => {
      const entry = element(legend, "span");
      element(entry, "i").style.background = PALETTE[at % PALETTE.length];
      entry.append(one.label);
    });
    chartOf(box, panel, x, moments);
  }
}
