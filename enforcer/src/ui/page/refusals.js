// The table of what was refused, or would be. A page of rows at a time; rows stay where they are while they are counted on.

const PAGE = 50;
const ORDERS = {
  newest: (a, b) => b.began - a.began || order(a.key, b.key),
  most: (a, b) => b.count - a.count || order(a.key, b.key),
  workload: (a, b) => order(a.from, b.from) || order(a.to, b.to) || a.rank - b.rank,
};
const table = { page: 0, rows: new Map(), isHeld: false, keys: [] };

function refusalRow() {
  const row = role(el('tr'), 'row');
  const cell = (className, label) => {
    const made = role(el('td', className), 'cell');
    made.dataset.label = label;
    row.append(made);
    return made;
  };
  row.chip = el('span', 'chip');
  cell('', 'Verdict').append(row.chip);
  row.owner = cell('breaks', 'Workload');
  const to = cell('breaks', 'Destination');
  row.view = el('button', 'link');
  row.view.type = 'button';
  row.view.addEventListener('click', () => view(row.flow));
  row.over = el('span', 'sub');
  to.append(row.view, ' ', row.over);
  const why = cell('why', 'Why');
  row.reason = el('div');
  row.hint = el('div', 'sub');
  why.append(row.reason, row.hint);
  row.calls = cell('number', 'Calls');
  row.last = cell('', 'Last');
  row.copy = copyButton();
  cell('', 'ServiceEntry').append(row.copy);
  return row;
}

function paintRefusal(row, flow) {
  row.flow = flow;
  chip(row.chip, flow.verdict);
  put(row.owner, flow.owner);
  put(row.view, flow.label);
  mark(row.view, 'aria-label', `Show ${flow.owner} to ${flow.label}`);
  put(row.over, flow.transport);
  put(row.reason, clean(flow.reason ?? ''));
  put(row.hint, flow.suggestion ? `To allow it: ${clean(flow.suggestion)}` : '');
  put(row.calls, count(flow.count));
  put(row.last, ago(flow.ended));
  aim(row.copy, flow);
}

/** While somebody is in the table, nothing moves below the hand; what is new waits. */
function isBusy() {
  const body = $('rows');
  return body.contains(document.activeElement) || body.matches(':hover');
}

function paintTable(flows) {
  const refused = flows.filter((flow) => flow.rank < 3 && isFrom(flow) && isTo(flow));
  refused.sort(ORDERS[$('order').value]);
  const pages = Math.max(1, Math.ceil(refused.length / PAGE));
  table.page = Math.min(table.page, pages - 1);
  let shown = refused.slice(table.page * PAGE, (table.page + 1) * PAGE);
  if (isBusy() && table.keys.length > 0) {
    const known = new Map(refused.map((flow) => [flow.key, flow]));
    shown = table.keys.map((key) => known.get(key)).filter(Boolean);
  }
  arrange(shown);
  put($('refusals-count'), count(refused.length));
  put($('page'), refused.length === 0 ? '' : `Page ${table.page + 1} of ${pages}`);
  $('before').disabled = table.page === 0;
  $('after').disabled = table.page >= pages - 1;
  $('none').hidden = refused.length > 0;
}

/** Puts rows in order; those that stay are the same elements, with the focus that they have. */
function arrange(shown) {
  const body = $('rows');
  const before = table.rows;
  table.rows = new Map();
  const spare = [];
  const keep = new Set(shown.map((flow) => flow.key));
  for (const [key, row] of before) if (!keep.has(key)) spare.push(row);
  shown.forEach((flow, index) => {
    const row = before.get(flow.key) ?? spare.pop() ?? refusalRow();
    paintRefusal(row, flow);
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    table.rows.set(flow.key, row);
  });
  for (const row of spare) row.remove();
  table.keys = shown.map((flow) => flow.key);
}

function turn(step) {
  table.page = Math.max(0, table.page + step);
  table.keys = [];
  refresh();
  say($('page').textContent);
}
$('before').addEventListener('click', () => turn(-1));
$('after').addEventListener('click', () => turn(1));
$('order').addEventListener('change', () => {
  Object.assign(table, { page: 0, keys: [] });
  refresh();
});
