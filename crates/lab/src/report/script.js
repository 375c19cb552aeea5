'use strict';
(() => {
  const D = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  if (!D || !D.policies.length || !$('timeline-plot')) return;
  const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const VALUE = {};
  [...LETTERS].forEach((letter, index) => { VALUE[letter] = index; });
  const pairs = (text, most) => {
    const out = new Float64Array(text.length / 2);
    for (let i = 0; i < out.length; i++) out[i] = (VALUE[text[2 * i]] * 64 + VALUE[text[2 * i + 1]]) / 4095 * most;
    return out;
  };
  const clock = (s) => `${Math.floor(s / 3600)}:${String(Math.floor(s / 60) % 60).padStart(2, '0')}`;
  const number = (v) => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));
  const make = (tag, text, cls) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };
  let chosen = D.chosen;
  let vm = 0;

  const say = (target, parts) => {
    target.replaceChildren(...parts.flatMap(([text, colour]) => {
      if (!colour) return [document.createTextNode(text)];
      const swatch = make('i', '', 'swatch');
      swatch.style.setProperty('--c', colour);
      return [document.createTextNode(' '), swatch, document.createTextNode(text)];
    }));
  };
  const hover = (plot, count, step, show, clear) => {
    plot.addEventListener('pointermove', (event) => {
      const box = plot.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width * D.seconds;
      show(Math.max(0, Math.min(count() - 1, Math.floor(at / step))), event, box);
    });
    plot.addEventListener('pointerleave', clear);
  };
  const cursors = (plots, at) => plots.forEach((plot) => {
    const cursor = plot.querySelector('.cursor');
    cursor.hidden = at === null;
    if (at !== null) cursor.style.left = `${Math.min(100, 100 * at / D.seconds)}%`;
  });

  // Utility over time.
  const utility = D.policies.map((policy) => pairs(policy.utility, 1));
  const timeline = $('timeline-plot');
  const order = () => [chosen, D.base, ...D.policies.keys()].filter((p, i, all) => all.indexOf(p) === i);
  hover(timeline, () => utility[0].length, D.point_s, (i) => {
    cursors([timeline], (i + 0.5) * D.point_s);
    say($('timeline-readout'), [[clock(i * D.point_s)],
      ...order().map((p) => [`${D.policies[p].name} ${utility[p][i].toFixed(3)}`, D.policies[p].colour])]);
  }, () => { cursors([timeline], null); $('timeline-readout').textContent = '\u00a0'; });

  // Heat maps.
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const ramp = () => {
    const stops = ['--h0', '--h1', '--h2', '--h3'].map((name) => rgb(css(name)));
    return Array.from({length: 64}, (_, level) => {
      const place = (1 - level / 63) * 3;
      const from = Math.min(2, Math.floor(place));
      return stops[from].map((v, c) => Math.round(v + (stops[from + 1][c] - v) * (place - from)));
    });
  };
  const paint = (side) => {
    const canvas = $(`heat-${side}`);
    const rows = D.policies[+$(`heat-${side}-policy`).value].heat;
    canvas.width = Math.max(1, rows.length ? rows[0].length : 1);
    canvas.height = Math.max(1, rows.length);
    const context = canvas.getContext('2d');
    const image = context.createImageData(canvas.width, canvas.height);
    const colours = ramp();
    rows.forEach((row, y) => {
      for (let x = 0; x < row.length; x++) image.data.set([...colours[VALUE[row[x]]], 255], 4 * (y * canvas.width + x));
    });
    context.putImageData(image, 0, 0);
  };
  const sides = ['left', 'right'];
  sides.forEach((side) => {
    $(`heat-${side}-policy`).addEventListener('change', () => paint(side));
    const canvas = $(`heat-${side}`);
    const place = (event, box) => Math.max(0, Math.min(D.rows.length - 1, Math.floor((event.clientY - box.top) / box.height * D.rows.length)));
    hover(canvas, () => canvas.width, D.cell_s, (x, event, box) => {
      const y = place(event, box);
      say($('heat-readout'), [[`${D.rows[y]}, ${clock(x * D.cell_s)}`], ...sides.map((other) => {
        const policy = D.policies[+$(`heat-${other}-policy`).value];
        return [`${policy.name} ${(VALUE[policy.heat[y][x]] / 63).toFixed(2)}`, policy.colour];
      })]);
    }, () => { $('heat-readout').textContent = '\u00a0'; });
    canvas.addEventListener('click', (event) => {
      const name = D.rows[place(event, canvas.getBoundingClientRect())];
      const found = D.vms.findIndex((one) => one.name === name);
      if (found >= 0) { $('vm').value = String(found); vm = found; detail(); $('detail').scrollIntoView(); }
    });
  });

  // One VM.
  const PANELS = {
    cpu: {area: [0, 'wanted'], line: [1, 'used'], held: [2, 'share']},
    memory: {area: [3, 'working set'], held: [4, 'held']},
    io: {area: [5, 'wanted'], line: [6, 'had']},
    utility: {line: [7, ''], was: [7, '']},
  };
  let now = [];
  let was = [];
  const svg = (tag, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    return node;
  };
  const trace = (values, most) => {
    let d = '';
    values.forEach((value, i) => {
      const x = Math.min(1000, 1000 * (i + 0.5) * D.detail_s / D.seconds);
      d += `${i ? 'L' : 'M'}${x.toFixed(1)} ${(1000 * (1 - value / most)).toFixed(1)}`;
    });
    return d;
  };
  const nice = (most) => {
    const power = 10 ** Math.floor(Math.log10(most));
    return [1, 2, 3, 4, 5, 6, 8, 10].map((f) => f * power).find((v) => v >= most * 0.999) || most;
  };
  const key = (cls, text) => {
    const sample = make('i');
    const looks = {wanted: 'height:9px;background:var(--rule)', used: 'border-top:2px solid var(--c)', held: 'border-top:1.5px dashed var(--ink)', was: 'border-top:2px solid var(--static)'};
    sample.style.cssText = looks[cls];
    return [sample, document.createTextNode(text)];
  };
  const panel = (id, parts, policy) => {
    const plot = $(`plot-${id}`);
    const used = Object.values(parts).map(([column]) => column);
    const top = id === 'utility' ? 1 : nice(Math.max(1e-3, ...used.flatMap((column) => [...now[column]])));
    const nodes = [plot.querySelector('title')];
    [0, 0.5, 1].forEach((share) => nodes.push(svg('path', {class: 'grid', d: `M0 ${1000 - 1000 * share}H1000`})));
    const classes = {area: 'wanted', line: 'used', held: 'held', was: 'was'};
    const keys = [];
    Object.entries(parts).forEach(([role, [column, text]]) => {
      const values = role === 'was' ? was[column] : now[column];
      let d = trace(values, top);
      if (role === 'area' && d) d = `M${Math.min(1000, 500 * D.detail_s / D.seconds).toFixed(1)} 1000L${d.slice(1)}V1000Z`;
      nodes.splice(role === 'was' ? 4 : nodes.length, 0, svg('path', {class: classes[role], d}));
      const name = {line: D.policies[policy].name, was: D.policies[D.base].name}[role];
      keys.push(...key(classes[role], text || name));
    });
    plot.replaceChildren(...nodes);
    $(`keys-${id}`).replaceChildren(...keys);
    $(`y-${id}`).replaceChildren(...[0, 0.5, 1].map((share) => {
      const tick = make('span', +(top * share).toPrecision(3));
      tick.style.top = `${100 - 100 * share}%`;
      return tick;
    }));
  };
  const marks = (found) => {
    const rows = [];
    D.kinds.forEach((kind, index) => {
      const own = found.filter(([, k]) => k === index);
      if (!own.length) return;
      const row = make('div', undefined, 'markrow');
      row.append(make('b', `${kind} ${own.length}`));
      own.forEach(([point]) => {
        const mark = make('i');
        mark.title = `${kind}, about ${clock(point * D.detail_s)}`;
        mark.style.left = `${Math.min(99.8, 100 * (point + 0.5) * D.detail_s / D.seconds)}%`;
        row.append(mark);
      });
      rows.push(row);
    });
    $('marks').replaceChildren(...(rows.length ? rows : [make('small', 'none but CPU and bandwidth shares')]));
  };
  const detail = () => {
    const one = D.vms[vm];
    if (!one) return;
    const decode = (policy) => one.policies[policy].series.map((text, column) => pairs(text, one.most[column]));
    now = decode(chosen);
    was = decode(D.base);
    $('detail').style.setProperty('--c', D.policies[chosen].colour);
    const [before, after] = [one.policies[D.base].mean, one.policies[chosen].mean];
    $('vm-what').textContent = `${one.what}; mean utility ${before.toFixed(3)} under ${D.policies[D.base].name}, ${after.toFixed(3)} under ${D.policies[chosen].name}`;
    Object.entries(PANELS).forEach(([id, parts]) => panel(id, parts, chosen));
    marks(one.policies[chosen].marks);
  };
  const plots = [...document.querySelectorAll('[data-panel]')];
  plots.forEach((plot) => hover(plot, () => now[0].length, D.detail_s, (i) => {
    cursors(plots, (i + 0.5) * D.detail_s);
    const v = now.map((column) => number(column[i]));
    say($('detail-readout'), [[`${clock(i * D.detail_s)} · CPU wanted ${v[0]}, used ${v[1]}, share ${v[2]} · working set ${v[3]}, held ${v[4]} GiB · devices wanted ${v[5]}, had ${v[6]} MB/s · utility ${v[7]} (${D.policies[D.base].name} ${number(was[7][i])})`]]);
  }, () => { cursors(plots, null); $('detail-readout').textContent = '\u00a0'; }));
  $('vm').addEventListener('change', (event) => { vm = +event.target.value; detail(); });

  // The list of changes.
  const filter = (list) => {
    const kind = document.querySelector(`.kind[data-list="${list}"]`).value;
    const words = document.querySelector(`.words[data-list="${list}"]`).value.toLowerCase();
    let found = 0;
    const rows = $(`list-${list}`).tBodies[0].rows;
    for (const row of rows) {
      row.hidden = (kind && row.dataset.kind !== kind) || (words && !row.textContent.toLowerCase().includes(words));
      found += row.hidden ? 0 : 1;
    }
    const text = $(`found-${list}`);
    text.dataset.all = text.dataset.all || text.textContent;
    text.textContent = kind || words ? `${found} of ${text.dataset.all}` : text.dataset.all;
  };
  document.querySelectorAll('.kind,.words').forEach((input) => input.addEventListener('input', () => filter(input.dataset.list)));

  // The choice of a policy.
  const choose = (policy) => {
    chosen = policy;
    document.querySelectorAll('[data-for]').forEach((part) => { part.hidden = +part.dataset.for !== policy; });
    document.querySelectorAll('path[data-line]').forEach((line) => line.classList.toggle('chosen', +line.dataset.line === policy));
    document.querySelectorAll('g[data-for]').forEach((part) => part.toggleAttribute('hidden', +part.dataset.for !== policy));
    $('heat-right-policy').value = String(policy);
    sides.forEach(paint);
    detail();
  };
  document.querySelectorAll('input[name=policy]').forEach((input) => input.addEventListener('change', () => choose(+input.value)));
  const ready = document.querySelector('input[name=policy]:checked');
  choose(ready ? +ready.value : D.chosen);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => sides.forEach(paint));
})();
