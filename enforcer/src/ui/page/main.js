// Asks once a second, and has everything else show what came.

const PERIOD = 1000;
const ANNOUNCE = 15000;
const known = { flows: [], status: null, told: { dropped: 0, omitted: 0 }, tag: '', refusals: 0, announced: 0, at: 0 };
let shownFlows = [];
let token = '';

function paintEnd(row, item) {
  mark(row, 'data-rank', RANKS[item.rank]);
  row.classList.toggle('namespace', item.isNamespace === true);
  put(row.name, item.isNamespace ? item.label : (item.isWorkload ? item.name : item.label));
  const others = item.isNamespace
    ? plural(item.workloads, 'workload', 'workloads')
    : item.isWorkload
      ? plural(item.others.size, 'destination', 'destinations')
      : `${item.transport} ${item.port} · ${plural(item.others.size, 'workload', 'workloads')}`;
  put(row.sub, `${others} · ${plural(item.calls, 'call', 'calls')}`);
  chip(row.chip, RANKS[item.rank]);
  mark(row, 'title', item.label);
}

function chooseFrom(item) {
  const [key, other] = item.isNamespace ? ['namespace', 'from'] : ['from', 'namespace'];
  const value = item.isNamespace ? item.namespace : item.key;
  chosen[other] = null;
  chosen[key] = chosen[key] === value ? null : value;
  if (chosen.to !== null && !known.flows.some((flow) => isFrom(flow) && isTo(flow))) chosen.to = null;
  picked();
}

function chooseTo(item) {
  chosen.to = chosen.to === item.key ? null : item.key;
  picked();
}

function picked() {
  Object.assign(table, { page: 0, keys: [] });
  const flows = refresh();
  say(isChosen() ? `${$('details-title').textContent}: ${plural(flows, 'flow', 'flows')}` : 'All flows are shown.');
}

function clear() {
  Object.assign(chosen, { namespace: null, from: null, to: null });
  picked();
}

/** From the table to the flow itself. */
function view(flow) {
  Object.assign(chosen, { namespace: null, from: flow.from, to: flow.to });
  picked();
  $('details-title').focus();
}

const fromList = new List($('from'), paintEnd, chooseFrom);
const toList = new List($('to'), paintEnd, chooseTo);
fromList.isChosen = (item) => (item.isNamespace ? chosen.namespace === item.namespace : chosen.from === item.key);
toList.isChosen = (item) => chosen.to === item.key;

/** Shows what is known; says how many flows are those that were chosen. */
function refresh() {
  const { shown, from, to } = digest(known.flows);
  for (const item of from) item.isWorkload = !item.isNamespace;
  shownFlows = shown;
  fromList.set(from);
  toList.set(to);
  put($('from-count'), count(from.filter((item) => item.isWorkload).length));
  put($('to-count'), count(to.length));
  paintTable(shown);
  return paintDetails(shown);
}

function paintFilters() {
  const select = $('namespace');
  const names = [...new Set(known.flows.map((flow) => flow.namespace))].sort();
  const before = [...select.options].slice(1).map((option) => option.value);
  if (names.length !== before.length || names.some((name, index) => name !== before[index])) {
    const options = names.map((name) => {
      const option = el('option', '', clean(name));
      option.value = name;
      return option;
    });
    select.replaceChildren(select.options[0], ...options);
    if (!names.includes(wanted.namespace)) wanted.namespace = '';
    select.value = wanted.namespace;
  }
  for (const verdict of RANKS) {
    const flows = known.flows.filter((flow) => flow.verdict === verdict && (wanted.probes || !flow.probe));
    put($(`count-${verdict}`), count(flows.length));
  }
  put($('probe-count'), count(known.flows.filter((flow) => flow.probe).length));
}

/** The verdicts' boxes are the legend, too. */
for (const verdict of RANKS) {
  const { mark: sign, word } = VERDICTS.get(verdict);
  const box = el('input');
  Object.assign(box, { type: 'checkbox', checked: true, id: `verdict-${verdict}` });
  box.addEventListener('change', () => {
    if (box.checked) wanted.verdicts.add(verdict);
    else wanted.verdicts.delete(verdict);
    refresh();
  });
  const number = el('span', 'count');
  number.id = `count-${verdict}`;
  const swatch = el('span', 'swatch');
  swatch.setAttribute('aria-hidden', 'true');
  const label = el('label', 'check', box, ' ', swatch, ' ', el('span', '', `${sign} ${word} `, number));
  label.dataset.verdict = verdict;
  $('verdicts').append(label);
}
$('find').addEventListener('input', () => {
  wanted.words = $('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  table.page = 0;
  refresh();
});
$('namespace').addEventListener('change', () => {
  wanted.namespace = $('namespace').value;
  table.page = 0;
  refresh();
});
$('probes').addEventListener('change', () => {
  wanted.probes = $('probes').checked;
  paintFilters();
  refresh();
});
$('clear').addEventListener('click', clear);
addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && isChosen() && event.target !== $('find')) clear();
});

/** Asks the server; the token goes in a header, which no other page can send. */
function ask(path, headers = {}) {
  return fetch(path, {
    headers: { Authorization: `Bearer ${token}`, ...headers },
    cache: 'no-store',
    credentials: 'omit',
    signal: AbortSignal.timeout(15000),
  });
}

class Closed extends Error {}

async function told(answer) {
  if (answer.status === 401) throw new Closed();
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

function takeObservations({ observations, dropped, omitted }) {
  known.flows = flowsOf(observations);
  known.told = { dropped, omitted };
  const refusals = known.flows.filter((flow) => flow.rank === 0 && !flow.probe).length;
  if (refusals > known.refusals && known.at > 0 && Date.now() - known.announced > ANNOUNCE) {
    known.announced = Date.now();
    say(`${plural(refusals - known.refusals, 'new refusal', 'new refusals')}.`);
  }
  known.refusals = refusals;
}

async function poll() {
  const [status, observed] = await Promise.all([ask('api/status'), ask('api/observations', known.tag ? { 'If-None-Match': known.tag } : {})]);
  known.status = await told(status);
  paintHealth(known.status);
  if (observed.status !== 304) {
    const body = await told(observed);
    performance.mark('taken');
    takeObservations(body);
    known.tag = observed.headers.get('ETag') ?? '';
    paintFilters();
    refresh();
    performance.measure('shown', 'taken');
    performance.clearMarks('taken');
  } else {
    paintTable(shownFlows);
  }
  paintFacts(known.status, known.flows, known.told);
  known.at = Date.now();
  pill($('link'), 'good', '●', 'Live');
  document.body.classList.remove('stale');
}

function lost(error) {
  const since = known.at > 0 ? `, as of ${CLOCK.format(known.at)}` : '';
  pill($('link'), 'bad', '○', `Not connected${since}`);
  const why = error instanceof TypeError || error.name === 'TimeoutError' ? 'this page\'s server does not answer; has `enforcer ui` ended?' : error.message;
  pill($('health'), 'unknown', '?', 'Enforcement: not known');
  items($('problems'), [clean(`Not connected: ${why}`)]);
  $('problems').hidden = false;
  if (!document.body.classList.contains('stale')) say('Not connected.');
  document.body.classList.add('stale');
}

function show(isOpen, why = '') {
  $('main').hidden = !isOpen;
  $('ask').hidden = isOpen;
  put($('ask-why'), why);
}

let timer = 0;
let isAsking = false;
async function live() {
  if (isAsking) return;
  clearTimeout(timer);
  if (!token) {
    show(false, 'It is in the address that `enforcer ui` prints, behind #token=, or in the file that the log of the enforcer names.');
    pill($('link'), 'unknown', '○', 'Not connected');
    return;
  }
  show(true);
  isAsking = true;
  try {
    if (!document.hidden) await poll();
  } catch (error) {
    if (error instanceof Closed) {
      token = '';
      keep('');
      show(false, 'This token is not the one of this server, which may have been started again.');
      pill($('link'), 'unknown', '○', 'Not connected');
      return;
    }
    lost(error);
  } finally {
    isAsking = false;
  }
  timer = setTimeout(live, PERIOD);
}

/** Of this tab alone. A browser that keeps nothing asks again after a reload. */
function keep(text) {
  try {
    sessionStorage.setItem('token', text);
  } catch {
    return;
  }
}

function kept() {
  try {
    return sessionStorage.getItem('token') ?? '';
  } catch {
    return '';
  }
}

/** Takes the token out of the address, so that it is neither seen nor copied with it. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    history.replaceState(null, '', location.pathname);
    keep(given);
  }
  token = given ?? kept();
}

$('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  token = $('token').value.trim();
  $('token').value = '';
  keep(token);
  live();
});
addEventListener('hashchange', () => {
  if (!location.hash.includes('token=')) return;
  takeToken();
  live();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) live();
});
takeToken();
live();
