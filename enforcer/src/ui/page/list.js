// A listbox of any length: only the rows in sight are elements.

const waiting = new Set();
let frame = 0;

/** Before the browser draws next, lists that have changed are written, and then the lines between them: once each. */
function onFrame(list) {
  if (list) waiting.add(list);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    for (const one of waiting) one.render();
    waiting.clear();
    draw();
  });
}

class List {
  /** `paint(row, item)` writes a row, `choose(item)` is Enter or a click. */
  constructor(root, paint, choose) {
    Object.assign(this, { root, paint, choose, items: [], indices: new Map(), active: null, isChosen: () => false });
    this.room = role(el('div', 'room'), 'presentation');
    this.rows = [];
    root.append(this.room);
    root.addEventListener('scroll', () => this.schedule(), { passive: true });
    root.addEventListener('keydown', (event) => this.key(event));
    root.addEventListener('click', (event) => this.click(event));
    root.addEventListener('focus', () => this.focus());
    new ResizeObserver(() => this.measure()).observe(root);
    this.measure();
  }

  measure() {
    this.height = 2.9 * parseFloat(getComputedStyle(document.documentElement).fontSize);
    const rows = Math.ceil(this.root.clientHeight / this.height) + 2;
    while (this.rows.length < rows) this.rows.push(this.row());
    while (this.rows.length > rows) this.rows.pop().remove();
    for (const row of this.rows) row.at = -1;
    this.room.style.height = `${this.items.length * this.height}px`;
    this.schedule();
  }

  row() {
    const row = role(el('div', 'row'), 'option');
    row.id = `${this.root.id}-${this.rows.length}`;
    row.hidden = true;
    row.name = el('span', 'name');
    row.sub = el('span', 'sub');
    row.chip = el('span', 'chip');
    row.append(row.name, row.sub, row.chip);
    this.room.append(row);
    return row;
  }

  set(items) {
    this.items = items;
    this.indices = new Map(items.map((item, index) => [item.key, index]));
    if (!this.indices.has(this.active)) this.active = null;
    this.room.style.height = `${items.length * this.height}px`;
    this.schedule();
  }

  schedule() {
    onFrame(this);
  }

  render() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / this.height));
    let described = '';
    for (let offset = 0; offset < this.rows.length; offset += 1) {
      const index = first + offset;
      const row = this.rows[index % this.rows.length];
      const item = this.items[index];
      row.hidden = !item;
      if (!item) continue;
      if (row.at !== index) {
        row.at = index;
        row.style.transform = `translateY(${index * this.height}px)`;
        row.style.height = `${this.height}px`;
        mark(row, 'aria-posinset', String(index + 1));
      }
      mark(row, 'aria-setsize', String(this.items.length));
      mark(row, 'aria-selected', String(this.isChosen(item)));
      row.classList.toggle('active', item.key === this.active);
      if (item.key === this.active) described = row.id;
      this.paint(row, item);
    }
    if (described) mark(this.root, 'aria-activedescendant', described);
    else this.root.removeAttribute('aria-activedescendant');
  }

  focus() {
    if (this.active === null && this.items.length > 0) {
      this.activate(Math.min(this.items.length - 1, Math.ceil(this.root.scrollTop / this.height)));
    }
  }

  activate(index) {
    const at = Math.max(0, Math.min(this.items.length - 1, index));
    if (!this.items[at]) return;
    this.active = this.items[at].key;
    const [top, room] = [at * this.height, this.root.clientHeight];
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top + this.height > this.root.scrollTop + room) this.root.scrollTop = top + this.height - room;
    this.schedule();
  }

  click(event) {
    const row = event.target.closest('.row');
    if (!row || !this.items[row.at]) return;
    this.active = this.items[row.at].key;
    this.choose(this.items[row.at]);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = this.indices.get(this.active) ?? -1;
    const page = Math.max(1, Math.floor(this.root.clientHeight / this.height) - 1);
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: Infinity };
    if (Object.hasOwn(steps, event.key)) this.activate(steps[event.key]);
    else if ((event.key === 'Enter' || event.key === ' ') && at >= 0) this.choose(this.items[at]);
    else if (event.key === 'ArrowLeft') $('from').focus();
    else if (event.key === 'ArrowRight') $('to').focus();
    else return;
    event.preventDefault();
  }
}
