// The lines between the two lists. They say nothing that the lists do not, so that who hears the page misses nothing.

const canvas = $('flows');
const pen = canvas.getContext('2d');
let colours = null;

/** Read once, and again when light becomes dark. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  colours ??= RANKS.map((verdict) => style.getPropertyValue(`--${verdict}`).trim());
  return colours;
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  colours = null;
  onFrame();
});

/** Where a list is on the canvas. Asked of the browser once for all lines. */
function place(list) {
  const least = list.root.getBoundingClientRect().top - canvas.getBoundingClientRect().top;
  return { first: least - list.root.scrollTop + list.height / 2, step: list.height, least, most: least + list.root.clientHeight, active: list.active };
}

/** What is out of sight is at the edge: above, or below. */
const [ABOVE, BELOW] = [-2, -1];
const edge = (side, at, index) => (at < side.least ? ABOVE : at > side.most ? BELOW : index);
const held = (side, at) => Math.min(side.most + 2, Math.max(side.least - 2, at));

/** A line for each pair of ends in sight; those that lead out of sight are one for each verdict and edge. */
function lines(flows) {
  const [left, right] = [place(fromList), place(toList)];
  const columns = toList.items.length + 2;
  const kept = new Map();
  for (const flow of flows) {
    if (flow.left < 0 || flow.right < 0) continue;
    const [a, b] = [left.first + flow.left * left.step, right.first + flow.right * right.step];
    const [from, to] = [edge(left, a, flow.left), edge(right, b, flow.right)];
    if (from < 0 && to < 0) continue;
    const key = ((from + 2) * columns + to + 2) * RANKS.length + flow.rank;
    let line = kept.get(key);
    if (!line) kept.set(key, (line = { a: held(left, a), b: held(right, b), isWhole: from >= 0 && to >= 0, rank: flow.rank, calls: 0, isLit: false }));
    line.calls += flow.count;
    line.isLit ||= flow.from === left.active || flow.to === right.active;
  }
  return [...kept.values()].sort((one, other) => other.rank - one.rank || one.isLit - other.isLit);
}

function draw() {
  const [width, room] = [canvas.clientWidth, canvas.clientHeight];
  if (width === 0 || room === 0) return;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(room * scale)) {
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(room * scale)];
  }
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, room);
  const all = lines(shownFlows);
  const isCrowded = all.length > 60;
  for (const { a, b, isWhole, rank, calls, isLit } of all) {
    const bend = width * 0.45;
    pen.strokeStyle = palette()[rank];
    pen.globalAlpha = isLit ? 1 : !isWhole ? 0.3 : isCrowded ? 0.55 : 0.8;
    pen.lineWidth = Math.min(5, 1.2 + Math.log10(1 + calls) * 0.6) + (isLit ? 1 : 0);
    pen.setLineDash(VERDICTS.get(RANKS[rank]).dash);
    pen.beginPath();
    pen.moveTo(0, a);
    pen.bezierCurveTo(bend, a, width - bend, b, width, b);
    pen.stroke();
    if (rank === 0 && isWhole && (isLit || !isCrowded)) cross(width / 2, (a + b) / 2);
  }
  pen.globalAlpha = 1;
}

/** A refusal is crossed out. */
function cross(x, y) {
  pen.setLineDash([]);
  pen.lineWidth = 2;
  pen.beginPath();
  for (const turn of [1, -1]) {
    pen.moveTo(x - 5, y - 5 * turn);
    pen.lineTo(x + 5, y + 5 * turn);
  }
  pen.stroke();
}

new ResizeObserver(() => onFrame()).observe(canvas);
