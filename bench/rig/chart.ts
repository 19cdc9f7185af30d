// Line charts as SVG text, without a library. A picture has its own background and follows the reader's light or dark
// scheme, so it can be read wherever it is shown.

export type Series = {
  readonly name: string;
  /** One for each label of the x axis. */
  readonly values: readonly number[];
  /** Which of the colors; what belongs together has the same. */
  readonly color: "a" | "b";
  readonly dashed?: boolean;
};

export type Chart = {
  readonly title: string;
  readonly xTitle: string;
  readonly labels: readonly string[];
  readonly scale: "linear" | "log";
  readonly series: readonly Series[];
};

const PANEL = { width: 440, height: 300 };
const PLOT = { left: 64, right: 424, top: 72, bottom: 248 };
const FOOT_HEIGHT = 44;

const STYLE = `
  svg { --back: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --a: #8a5a00; --b: #0550ae; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --a: #e3a34f; --b: #79b8ff; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); }
  .title { font-weight: 600; font-size: 14px; }
  .soft { fill: var(--soft); font-size: 11px; }
  .grid { stroke: var(--line); }
  .series { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .a { stroke: var(--a); } .dot.a { fill: var(--a); }
  .b { stroke: var(--b); } .dot.b { fill: var(--b); }
  .dashed { stroke-dasharray: 5 4; }
`;

/** Charts side by side, with lines of text under them. */
export function picture(charts: readonly Chart[], foot: readonly string[]): string {
  const width = PANEL.width * charts.length;
  const height = PANEL.height + FOOT_HEIGHT;
  const notes = foot.map((line, i) => text(PLOT.left - 44, PANEL.height + 12 + i * 16, line, "soft"));
  const label = charts.map((one) => one.title).join("; ");
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(label)}">`,
    `<style>${STYLE}</style>`,
    `<rect width="${width}" height="${height}" rx="8" style="fill: var(--back)"/>`,
    ...charts.map((chart, i) => `<g transform="translate(${i * PANEL.width} 0)">\n${panel(chart)}\n</g>`),
    ...notes,
    "</svg>\n",
  ].join("\n");
}

function panel(chart: Chart): string {
  const { title, xTitle, labels, series } = chart;
  const ticks = ticksOf(chart);
  const y = yOf(chart, ticks);
  const x = (i: number) =>
    labels.length < 2
      ? (PLOT.left + PLOT.right) / 2
      : PLOT.left + 16 + (i * (PLOT.right - PLOT.left - 32)) / (labels.length - 1);
  return [
    text(20, 28, title, "title"),
    ...series.map((one, i) => legend(one, i, series.length)),
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${PLOT.left}" x2="${PLOT.right}" y1="${y(tick)}" y2="${y(tick)}"/>`,
      text(PLOT.left - 8, y(tick) + 4, shortNumber(tick), "soft", "end"),
    ]),
    ...labels.map((label, i) => text(x(i), PLOT.bottom + 18, label, "soft", "middle")),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 36, xTitle, "soft", "middle"),
    ...series.flatMap(({ values, color, dashed }) => {
      const points = values.map((value, i) => ({ x: round(x(i)), y: round(y(value)) }));
      const line = points.map((point) => `${point.x},${point.y}`).join(" ");
      return [
        `<polyline class="series ${color}${dashed ? " dashed" : ""}" points="${line}"/>`,
        ...points.map((point) => `<circle class="dot ${color}" cx="${point.x}" cy="${point.y}" r="3"/>`),
      ];
    }),
  ].join("\n");
}

function legend({ name, color, dashed }: Series, i: number, count: number): string {
  const x = 20 + i * ((PANEL.width - 20) / Math.max(2, count));
  const line = `<line class="series ${color}${dashed ? " dashed" : ""}" x1="${x}" x2="${x + 20}" y1="48" y2="48"/>`;
  return line + text(x + 26, 52, name, "soft");
}

function yOf({ scale }: Chart, ticks: readonly number[]): (value: number) => number {
  const size = scale === "log" ? Math.log10 : (value: number) => value;
  const [least = 0, greatest = 1] = [ticks[0], ticks.at(-1)];
  return (value) => {
    const share = (size(Math.max(value, least)) - size(least)) / (size(greatest) - size(least));
    return round(PLOT.bottom - share * (PLOT.bottom - PLOT.top));
  };
}

/** From zero, or powers of ten: an axis that starts elsewhere makes little look like much. */
function ticksOf({ scale, series }: Chart): readonly number[] {
  const values = series.flatMap((one) => one.values).filter((value) => Number.isFinite(value));
  const greatest = Math.max(...values);
  if (scale === "log") {
    const least = Math.floor(Math.log10(Math.max(0.01, Math.min(...values))));
    const most = Math.max(least + 1, Math.ceil(Math.log10(greatest)));
    return Array.from({ length: most - least + 1 }, (_, i) => 10 ** (least + i));
  }
  const step = niceStep(greatest / 4);
  return Array.from({ length: Math.ceil(greatest / step) + 1 }, (_, i) => i * step);
}

function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-9)));
  return power * ([1, 2, 2.5, 5].find((one) => one * power >= least) ?? 10);
}

/** 20 000 000 as 20M. */
export function shortNumber(value: number): string {
  if (value >= 1e6) return `${round(value / 1e6)}M`;
  if (value >= 1e3) return `${round(value / 1e3)}k`;
  return String(round(value));
}

function text(x: number, y: number, content: string, kind = "", anchor = "start"): string {
  return `<text class="${kind}" x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
