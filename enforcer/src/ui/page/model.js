// What is known: flows, as the enforcer has observed them, and their two ends.

/** The worst first. The mark and the dashes say the same as the colour. */
const VERDICTS = new Map([
  ['deny', { rank: 0, mark: '✕', word: 'denied', dash: [] }],
  ['audit', { rank: 1, mark: '!', word: 'audit', dash: [2, 4] }],
  ['unregistered', { rank: 2, mark: '?', word: 'unregistered', dash: [9, 5] }],
  ['allow', { rank: 3, mark: '✓', word: 'allowed', dash: [] }],
]);
const RANKS = [...VERDICTS.keys()];

/** One observation, with what is worked out once. */
function flowOf(observation) {
  const { namespace, workload, host, addresses, port, transport, verdict, probe } = observation;
  const address = addresses.at(-1) ?? '';
  const name = host ?? (address.includes(':') ? `[${address}]` : address);
  const from = `${namespace}/${workload}`;
  const to = `${name}:${port}/${transport}`;
  return {
    ...observation,
    key: `${from} ${to} ${verdict} ${probe === true}`,
    from,
    to,
    label: clean(`${name}:${port}`),
    owner: clean(from),
    rank: VERDICTS.get(verdict)?.rank ?? 2,
    began: Date.parse(observation.first),
    ended: Date.parse(observation.last),
    text: `${from} ${name}:${port} ${addresses.join(' ')}`.toLowerCase(),
    // Of what is drawn.
    left: -1,
    right: -1,
  };
}

/** Flows with keys of their own. */
function flowsOf(observations) {
  const seen = new Map();
  for (const observation of observations) {
    const flow = flowOf(observation);
    while (seen.has(flow.key)) flow.key += "'";
    seen.set(flow.key, flow);
  }
  return [...seen.values()];
}

/** What is looked for, and what was chosen: keys of a namespace, a workload, a destination. */
const wanted = { words: [], namespace: '', verdicts: new Set(RANKS), probes: false };
const chosen = { namespace: null, from: null, to: null };

const passes = (flow) =>
  wanted.verdicts.has(flow.verdict) &&
  (wanted.probes || !flow.probe) &&
  (wanted.namespace === '' || flow.namespace === wanted.namespace) &&
  wanted.words.every((word) => flow.text.includes(word));

const isFrom = (flow) =>
  (chosen.namespace === null || flow.namespace === chosen.namespace) &&
  (chosen.from === null || flow.from === chosen.from);
const isTo = (flow) => chosen.to === null || flow.to === chosen.to;
const isChosen = () => chosen.namespace !== null || chosen.from !== null || chosen.to !== null;

/** Adds a flow to one of its ends. */
function add(ends, key, flow, label) {
  let end = ends.get(key);
  if (!end) {
    end = { key, label, namespace: flow.namespace, name: clean(flow.workload), transport: flow.transport, port: flow.port, rank: 3, calls: 0, refused: 0, others: new Set() };
    ends.set(key, end);
  }
  end.rank = Math.min(end.rank, flow.rank);
  end.calls += flow.count;
  if (flow.rank === 0) end.refused += flow.count;
  return end;
}

const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Workloads below their namespaces, destinations with the worst first, and the flows between those that are listed. */
function digest(flows) {
  const [left, right] = [new Map(), new Map()];
  const isListedLeft = chosen.from === null && chosen.namespace === null ? isTo : () => true;
  const shown = [];
  for (const flow of flows) {
    flow.left = -1;
    flow.right = -1;
    if (!passes(flow)) continue;
    shown.push(flow);
    if (isListedLeft(flow)) add(left, flow.from, flow, flow.owner).others.add(flow.to);
    if (isFrom(flow)) add(right, flow.to, flow, flow.label).others.add(flow.from);
  }
  const from = namespaces([...left.values()]);
  const to = [...right.values()].sort((a, b) => a.rank - b.rank || order(a.label, b.label));
  const indices = (ends) => new Map(ends.map((end, index) => [end.key, index]));
  const [lefts, rights] = [indices(from), indices(to)];
  for (const flow of shown) {
    flow.left = lefts.get(flow.from) ?? -1;
    flow.right = rights.get(flow.to) ?? -1;
  }
  return { shown, from, to };
}

/** The workloads, each namespace with a row before its own. */
function namespaces(workloads) {
  workloads.sort((a, b) => order(a.namespace, b.namespace) || order(a.name, b.name));
  const rows = [];
  let head = null;
  for (const workload of workloads) {
    if (head?.namespace !== workload.namespace) {
      head = { key: `${workload.namespace}/`, isNamespace: true, namespace: workload.namespace, label: clean(workload.namespace), rank: 3, calls: 0, refused: 0, workloads: 0 };
      rows.push(head);
    }
    head.workloads += 1;
    head.calls += workload.calls;
    head.refused += workload.refused;
    head.rank = Math.min(head.rank, workload.rank);
    rows.push(workload);
  }
  return rows;
}
