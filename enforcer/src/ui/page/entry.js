// The ServiceEntry that would allow a flow, made by the server, and copied.

const entries = new Map();
const MOST_ENTRIES = 500;

/** Its YAML. It depends on nothing that changes, so that it is asked for once. */
async function entryOf(flow) {
  const key = `${flow.namespace} ${flow.to}`;
  if (entries.has(key)) return entries.get(key);
  const query = new URLSearchParams({ namespace: flow.namespace, port: flow.port, transport: flow.transport });
  if (flow.host !== undefined) query.set('host', flow.host);
  if (flow.addresses.length > 0) query.set('address', flow.addresses.at(-1));
  const answer = await ask(`api/entry?${query}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  if (entries.size >= MOST_ENTRIES) entries.delete(entries.keys().next().value);
  entries.set(key, text);
  return text;
}

/** Without a secure context, as at an address that is not loopback, there is no clipboard but by selection. */
async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = el('textarea', 'sr', text);
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  if (!isCopied) throw new Error('the browser does not let the page copy');
}

/** A button that copies. What it says changes for a moment; who hears the page is told. */
function copyButton() {
  const button = el('button', 'copy', 'Copy');
  button.type = 'button';
  button.addEventListener('click', async () => {
    const { flow } = button;
    try {
      await copyText(await entryOf(flow));
      button.textContent = 'Copied';
      say(`The ServiceEntry for ${flow.label} is copied.`);
    } catch (error) {
      button.textContent = 'Failed';
      say(`The ServiceEntry could not be copied: ${clean(String(error.message))}`);
    }
    clearTimeout(button.timer);
    button.timer = setTimeout(() => (button.textContent = 'Copy'), 2000);
  });
  return button;
}

/** Whose button it is; names it for who hears it. */
function aim(button, flow) {
  button.flow = flow;
  mark(button, 'aria-label', `Copy the ServiceEntry that would allow ${flow.owner} to reach ${flow.label}`);
}
