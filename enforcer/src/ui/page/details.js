// What was chosen: its flows, and for one that is refused the ServiceEntry that would allow it.

const MOST_DETAILS = 20;
const details = { cards: [], shown: '' };

function chip(node, verdict) {
  const { mark: sign, word } = VERDICTS.get(verdict) ?? { mark: '?', word: clean(verdict) };
  put(node, `${sign} ${word}`);
  mark(node, 'data-verdict', verdict);
}

function card() {
  const made = el('article', 'card');
  made.chip = el('span', 'chip');
  made.what = el('h3');
  made.facts = el('ul', 'plain');
  made.entry = el('pre');
  made.entry.tabIndex = 0;
  made.entry.setAttribute('aria-label', 'ServiceEntry');
  made.copy = copyButton();
  made.tools = el('div', 'tools', el('span', 'sub', 'ServiceEntry'), made.copy);
  made.append(made.chip, made.what, made.facts, made.tools, made.entry);
  return made;
}

function paintCard(made, flow, isOne) {
  chip(made.chip, flow.verdict);
  put(made.what, `${flow.owner} → ${flow.label}`);
  const more = flow.addresses.length - 4;
  items(made.facts, [
    `${flow.transport}${flow.probe ? ', probe: nothing was sent' : ''}, ${plural(flow.count, 'call', 'calls')}`,
    ...(flow.host === undefined ? [] : [`at ${clean(flow.addresses.slice(-4).join(', '))}${more > 0 ? ` and ${more} more` : ''}`]),
    ...(flow.object ? [`${flow.rank === 3 ? 'by' : 'closest'}: ${clean(flow.object)}`] : []),
    ...(flow.reason ? [clean(flow.reason)] : []),
    ...(flow.suggestion ? [`To allow it: ${clean(flow.suggestion)}`] : []),
    ...(displaces(flow) ? ['Rather change that object: a new entry takes its place for the whole namespace.'] : []),
    `first ${MOMENT.format(flow.began)}, last ${ago(flow.ended)}`,
  ]);
  const isRefused = flow.rank < 3;
  made.tools.hidden = !isRefused;
  made.entry.hidden = !isRefused || !isOne;
  if (isRefused) aim(made.copy, flow);
  if (isRefused && isOne && made.key !== flow.key) {
    made.key = flow.key;
    put(made.entry, '');
    entryOf(flow)
      .then((text) => made.key === flow.key && put(made.entry, text))
      .catch((error) => put(made.entry, clean(String(error.message))));
  }
}

/** Whether a new entry would stand before what another namespace exports: a client's own entries come first. */
function displaces(flow) {
  return flow.rank < 3 && flow.object !== undefined && !flow.object.split(' ').at(-1).startsWith(`${flow.namespace}/`);
}

/** The heading of what was chosen. */
function heading() {
  const from = chosen.from ?? (chosen.namespace === null ? null : `namespace ${chosen.namespace}`);
  const to = chosen.to?.replace(/\/(tcp|udp)$/, ' $1') ?? null;
  const parts = [from, to].filter((part) => part !== null);
  return parts.length === 0 ? 'Nothing is chosen' : clean(parts.join(' → '));
}

function paintDetails(flows) {
  put($('details-title'), heading());
  $('clear').hidden = !isChosen();
  const root = $('details');
  const matching = isChosen() ? flows.filter((flow) => isFrom(flow) && isTo(flow)) : [];
  matching.sort((a, b) => a.rank - b.rank || order(a.key, b.key));
  const most = matching.slice(0, MOST_DETAILS);
  while (details.cards.length < most.length) details.cards.push(card());
  most.forEach((flow, index) => paintCard(details.cards[index], flow, most.length <= 2));
  const rest = matching.length - most.length;
  const note = !isChosen()
    ? 'Choose a namespace, a workload or a destination to see its flows, and what would allow those that are refused.'
    : matching.length === 0
      ? 'No flow matches.'
      : rest > 0
        ? `and ${plural(rest, 'flow', 'flows')} more`
        : '';
  details.note ??= el('p', 'sub');
  put(details.note, note);
  const nodes = [...details.cards.slice(0, most.length), ...(note ? [details.note] : [])];
  if (nodes.length !== root.children.length || nodes.some((node, index) => root.children[index] !== node)) {
    root.replaceChildren(...nodes);
  }
  return matching.length;
}
