// What the other parts write with. Text from elsewhere (hosts, names of workloads, reasons) is only ever set as text.

const $ = (id) => document.getElementById(id);

/** An element with a class and children; strings are text. */
function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** An element of a role. */
function role(node, name) {
  node.setAttribute('role', name);
  return node;
}

const written = new WeakMap();

/** Sets a node's text, unless it is that already: most of a second's updates change nothing. */
function put(node, text) {
  if (written.get(node) === text) return;
  written.set(node, text);
  node.textContent = text;
}

function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Fills a list with one item for each text. */
function items(list, texts) {
  while (list.children.length > texts.length) list.lastChild.remove();
  while (list.children.length < texts.length) list.append(el('li'));
  texts.forEach((text, index) => put(list.children[index], text));
}

/** Control characters, and marks that would hide or turn text, are shown by their numbers. */
const HAZARD = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const LONGEST = 300;

function clean(text) {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return cut.replace(HAZARD, (found) => `\\u{${found.codePointAt(0).toString(16)}}`);
}

const NUMBER = new Intl.NumberFormat('en');
const SHORT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const count = (number) => NUMBER.format(number);
const short = (number) => (number < 10000 ? NUMBER.format(number) : SHORT.format(number));
const plural = (number, one, many) => `${short(number)} ${number === 1 ? one : many}`;

/** `12 s`, as `enforcer status` has it. */
function age(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 180) return `${seconds.toFixed(0)} s`;
  if (seconds < 3 * 3600) return `${(seconds / 60).toFixed(0)} min`;
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(0)} h`;
  return `${(seconds / 86400).toFixed(0)} d`;
}

/** How long ago, in steps: a column in which every row changes each second cannot be read. */
function ago(milliseconds) {
  const seconds = Math.max(0, (Date.now() - milliseconds) / 1000);
  if (seconds < 10) return 'now';
  if (seconds < 60) return `${Math.floor(seconds / 10) * 10} s ago`;
  if (seconds < 180) return `${Math.floor(seconds / 60)} min ago`;
  return `${age(seconds)} ago`;
}

const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const MOMENT = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/** Tells who hears the page; a text that is the same as the last is told again. */
function say(text) {
  const node = $('say');
  node.textContent = node.textContent === text ? `${text}\u00a0` : text;
}
