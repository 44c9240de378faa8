// What tools/browser.py asks of a page: every page that it opens gets these functions as `course`.
'use strict';
window.course = (() => {
  const notebook = () => window.jupyterapp.shell.currentWidget;
  const cellNode = cell => notebook().content.widgets[cell].node;
  const kernel = () => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
  const state = {run: 'not started', died: false, errors: []};
  const text = node => node?.textContent.replace(/[\s\u200b]+/g, ' ').trim();  // ipywidgets pads with \u200b

  // --- the kernel ---

  const idle = () => kernel()?.connectionStatus === 'connected' && kernel().status === 'idle';
  const unanswered = new Set();  // messages of widgets that the kernel has not handled yet

  async function roundTrip() {  // a kernel may handle widgets beside its main thread, so its other answers come first
    await kernel().requestKernelInfo();
    const end = Date.now() + 60_000;
    while (unanswered.size && Date.now() < end) await new Promise(done => setTimeout(done, 50));
  }

  const shutDown = async () => { await notebook().sessionContext.shutdown(); };

  function listen() {  // errors of widget callbacks belong to no cell: JupyterLab shows them only in its log
    kernel().statusChanged.connect((_, status) => {
      if (['dead', 'restarting', 'autorestarting'].includes(status)) state.died = true;
    });
    kernel().anyMessage.connect((_, {msg, direction}) => {
      if (direction === 'send' && msg.header.msg_type === 'comm_msg') unanswered.add(msg.header.msg_id);
      if (msg.header.msg_type === 'status' && msg.content.execution_state === 'idle') {
        unanswered.delete(msg.parent_header.msg_id);
      }
      if (direction !== 'recv' || msg.parent_header.msg_type === 'execute_request') return;
      if (msg.header.msg_type === 'error') state.errors.push(`${msg.content.ename}: ${msg.content.evalue}`);
      if (msg.header.msg_type === 'stream' && msg.content.name === 'stderr') state.errors.push(msg.content.text);
    });
  }

  function runAll() {
    state.run = 'running';
    window.jupyterapp.commands.execute('notebook:run-all-cells')
      .then(() => { state.run = 'done'; }, error => { state.run = String(error); });
  }

  // --- cells ---

  const cells = () => notebook().content.widgets.map((cell, number) => {
    const outputs = cell.model.type === 'code' ? cell.model.outputs.toJSON() : [];
    const joined = value => Array.isArray(value) ? value.join('') : String(value ?? '');
    return {
      number, code: cell.model.type === 'code', count: cell.model.executionCount,
      source: cell.model.sharedModel.getSource(), tags: cell.model.getMetadata('tags') ?? [],
      errors: outputs.filter(o => o.output_type === 'error').map(o => `${o.ename}: ${o.evalue}`),
      stderr: outputs.filter(o => o.name === 'stderr').map(o => joined(o.text)).join(''),
    };
  });

  async function scrollTo(cell) {
    notebook().content.activeCellIndex = cell;
    await notebook().content.scrollToItem(cell, 'start');
  }

  const scroller = () => notebook().content.node.querySelector('.jp-WindowedPanel-outer');
  const scrollToTop = () => { scroller().scrollTop = 0; };

  function scrollDown() {  // by how much
    const before = scroller().scrollTop;
    scroller().scrollTop += scroller().clientHeight - 60;
    return scroller().scrollTop - before;
  }

  function shown(cell) {  // a fingerprint of a cell's output without its controls
    const copy = cellNode(cell).querySelector('.jp-Cell-outputArea').cloneNode(true);
    copy.querySelectorAll('.widget-inline-hbox, select, input, textarea, button, datalist').forEach(e => {
      if (!e.matches('.widget-html, .widget-label-basic') && !e.querySelector('.widget-html-content')) e.remove();
    });
    copy.querySelectorAll('*').forEach(e => {
      for (const name of ['id', 'class', 'tabindex', 'data-course']) e.removeAttribute(name);
    });
    const canvases = [...cellNode(cell).querySelectorAll('canvas')].map(c => c.toDataURL()).join();
    let hash = 5381;
    for (const c of copy.innerHTML + canvases) hash = (hash * 33 + c.codePointAt(0)) % 9007199254740;
    return hash;
  }

  function failedOutputs(cell) {  // errors inside of Output widgets, and widgets that did not load
    const kinds = ['error', 'stderr'].map(kind => `.jupyter-widgets [data-mime-type$="jupyter.${kind}"]`);
    const texts = [...cellNode(cell).querySelectorAll(kinds.join())].map(e => e.textContent);
    if (/Error displaying widget|Loading widget/.test(cellNode(cell).textContent)) texts.push('a widget did not load');
    return texts;
  }

  // --- controls ---

  function kindOf(e) {
    if (e.matches('.noUi-handle')) return 'slider';
    if (e.tagName !== 'INPUT') return {SELECT: 'dropdown', TEXTAREA: 'textarea', BUTTON: 'button'}[e.tagName];
    return e.type || 'text';
  }

  function labelOf(e) {
    if (e.tagName === 'BUTTON') return text(e) || e.title;
    let box = e;  // the smallest ancestor with a label, unless that is a box of several controls
    while (box && !box.matches('.widget-box') && !text(box.querySelector('.widget-label'))) box = box.parentElement;
    const beside = box?.matches('.widget-box') ? '' : text(box?.querySelector('.widget-label'));
    return text(e.labels?.[0]) || beside || e.getAttribute('aria-label') || '';
  }

  function controls(cell) {  // marks the controls of a cell's widgets with data-course, and describes them
    const found = [...cellNode(cell).querySelectorAll('.jp-OutputArea :is(.noUi-handle, select, input, textarea, button)')]
      .filter(e => e.closest('.jupyter-widgets') && !e.matches('.widget-upload'));  // opens the browser's own dialog
    found.forEach(e => { delete e.dataset.course; });
    return found.filter(e => !e.disabled && !(e.type === 'radio' && e.checked)).map((e, number) => {
      e.dataset.course = `${cell}-${number}`;
      const options = e.list ? [...e.list.options].map(o => o.value) : [];
      return {cell, number, kind: kindOf(e), label: labelOf(e), options};
    });
  }

  function value(selector) {  // what a control holds
    const e = document.querySelector(selector);
    return e.getAttribute('aria-valuenow') ?? (['radio', 'checkbox'].includes(e.type) ? e.checked : e.value);
  }

  // --- pages of the site ---

  function pale() {  // texts whose contrast with their background is below WCAG's level AA
    const numbers = colour => (colour.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = c => c.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const over = (top, below) => top.slice(0, 3).map((v, i) => v * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
    const ground = e => {
      const layers = [];
      for (let at = e; at; at = at.parentElement) {
        const colour = numbers(getComputedStyle(at).backgroundColor);
        if (colour.length && (colour[3] ?? 1) > 0) layers.push(colour);
        if (colour.length && (colour[3] ?? 1) === 1) break;
      }
      return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
    };
    const found = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const e = walker.currentNode.parentElement;
      if (!text(walker.currentNode) || e.closest('script, style, noscript, svg, .headerlink')) continue;
      if (!e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
      const style = getComputedStyle(e), behind = ground(e);
      const [dark, light] = [luminance(over(numbers(style.color), behind)), luminance(behind)].sort((a, b) => a - b);
      const ratio = (light + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      const key = `${e.tagName}.${e.className} ${style.color} on ${behind.map(Math.round)}`;
      if (ratio < (large ? 3 : 4.5)) found.set(key, `${ratio.toFixed(2)} ${key}: ${text(e).slice(0, 40)}`);
    }
    return [...found.values()];
  }

  function tooWide() {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const beyond = [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > width + 1);
    return ['the page scrolls sideways', ...beyond.slice(0, 5).map(e => e.outerHTML.slice(0, 80))];
  }

  return {
    state: () => state, idle, roundTrip, shutDown, listen, runAll, cells, scrollTo, scrollToTop, scrollDown, shown,
    failedOutputs, controls, value, pale, tooWide,
  };
})();
