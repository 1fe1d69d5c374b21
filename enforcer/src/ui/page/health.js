// How the node stands.

const MOST_PROBLEMS = 8;

function pill(node, state, sign, text) {
  mark(node, 'data-state', state);
  put(node.querySelector('.mark'), sign);
  put(node.querySelector('.text'), text);
}

function paintHealth(status) {
  const health = $('health');
  if (status.proven) {
    pill(health, 'good', '✓', `Enforcement is proven, ${age(status.proofAgeSeconds ?? 0)} ago`);
  } else {
    pill(health, 'bad', '✕', 'Enforcement is NOT proven');
  }
  const { configuration } = status;
  const problems = [
    ...status.problems,
    ...(status.allowAny.length > 0 ? [`ALLOW_ANY lets ${plural(status.allowAny.length, 'workload', 'workloads')} reach everything`] : []),
    ...(configuration.hasChanged ? [`the configuration ${configuration.file} has changed, and is not taken up`] : []),
    ...(configuration.refused ? [`the configuration is refused: ${configuration.refused}`] : []),
  ].map(clean);
  const rest = problems.length - MOST_PROBLEMS;
  items($('problems'), rest > 0 ? [...problems.slice(0, MOST_PROBLEMS), `and ${rest} more, which \`enforcer status\` names`] : problems);
  $('problems').hidden = problems.length === 0;
  items($('about'), [
    `enforcer ${clean(status.version)}, pid ${status.pid}, up ${age(status.uptimeSeconds)}`,
    `mode ${clean(status.mode)}`,
    `${plural(status.names.hosts, 'host', 'hosts')} resolved, ${status.names.failing.length} failing`,
    `${plural(status.warningsInAll, 'warning', 'warnings')}, ${plural(status.rejected.length, 'rejected document', 'rejected documents')}`,
    `${plural(status.eventsLost, 'event', 'events')} lost`,
  ]);
  const absent = (root) => (root.absent.length > 0 ? `, absent: ${root.absent.join(', ')}` : '');
  items($('roots'), status.roots.slice(0, 50).map((root) => clean(`${root.path}: ${root.isThere ? `${plural(root.programs.length, 'program', 'programs')}${absent(root)}` : 'not there'}`)));
  items($('sources'), status.sources.slice(0, 50).map((source) => clean(`${source.name}: ${count(source.objects)}${source.problem ? `: ${source.problem}` : ''}`)));
  items($('maps'), status.usage.map((map) => clean(`${map.name}: ${count(map.used)} of ${count(map.capacity)}`)));
}

/** Made once; then only numbers change. */
const facts = new Map();

function fact(name, value, state) {
  let node = facts.get(name);
  if (!node) {
    node = el('dd');
    $('facts').append(el('div', '', el('dt', '', name), node));
    facts.set(name, node);
  }
  put(node, value);
  mark(node, 'data-state', state ?? '');
}

/** Probes send nothing, and are not counted. */
function paintFacts(status, all, told) {
  const flows = all.filter((flow) => !flow.probe);
  const sum = (rank) => flows.reduce((calls, flow) => calls + (flow.rank === rank ? flow.count : 0), 0);
  const distinct = (key) => new Set(flows.map((flow) => flow[key])).size;
  const alarm = (number, state) => [short(number), number > 0 ? state : ''];
  fact('Mode', status ? clean(status.mode) : '–');
  fact('Workloads', short(distinct('from')));
  fact('Destinations', short(distinct('to')));
  fact('Calls allowed', short(sum(3)), 'allow');
  fact('Denied', ...alarm(sum(0), 'deny'));
  fact('Audit', ...alarm(sum(1), 'audit'));
  fact('Unregistered', ...alarm(sum(2), 'unregistered'));
  fact('Events lost', ...alarm(status?.eventsLost ?? 0, 'audit'));
  fact('Dropped', ...alarm(told.dropped, 'audit'));
  if (told.omitted > 0) fact('Not shown', short(told.omitted), 'audit');
}
