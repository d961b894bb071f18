// What the cleaning page decides by itself, without a browser: selections, keys, pages, words
import assert from 'node:assert/strict'
import {test} from 'node:test'
import {
  TABLE, deedOf, describe, disputed, forget, keyName, many, neighbours, said, saidByOthers, shown, span, stepped, stride,
  sweep, tally, targets, timeLeft, toggled, undecided,
} from '../../birdclf/front/clean.js'

const IDS = ['a', 'b', 'c', 'd', 'e']
const photo = (more = {}) => ({
  names: {german: 'Rotkehlchen', english: 'European Robin', scientific: 'Erithacus rubecula'},
  decision: '', label: '', reasons: [], copies: 1, others: [], ...more,
})
const album = (more = {}) => ({number: 0, pages: 9, photos: new Map(), sheets: new Map(), opened: new Map(), ...more})

test('a range goes from its anchor in either direction', () => {
  assert.deepEqual(span(IDS, 'b', 'd'), ['b', 'c', 'd'])
  assert.deepEqual(span(IDS, 'd', 'b'), ['b', 'c', 'd'])
  assert.deepEqual(span(IDS, 'c', 'c'), ['c'])
  assert.deepEqual(span(IDS, 'gone', 'b'), ['a', 'b'])                 // an anchor that the page has lost
})

test('a step stays on the page', () => {
  assert.equal(stepped(IDS, 'b', 1), 'c')
  assert.equal(stepped(IDS, 'b', -5), 'a')
  assert.equal(stepped(IDS, 'b', 5), 'e')
  assert.equal(stepped([], null, 1), undefined)
})

test('one more is chosen, or one less, and the old set is left alone', () => {
  const set = new Set(['a'])
  assert.deepEqual([...toggled(set, 'b')], ['a', 'b'])
  assert.deepEqual([...toggled(set, 'a')], [])
  assert.deepEqual([...set], ['a'])
})

test('a deed is for the selection in the order of the page, or else for the focus', () => {
  assert.deepEqual(targets(IDS, {focus: 'a', selected: new Set(['d', 'b'])}), ['b', 'd'])
  assert.deepEqual(targets(IDS, {focus: 'a', selected: new Set()}), ['a'])
  assert.deepEqual(targets(IDS, {focus: null, selected: new Set()}), [])
  assert.deepEqual(targets(IDS, {focus: 'a', selected: new Set(['elsewhere'])}), [])
})

test('a key has a name, with what is held down beside it', () => {
  const name = (key, held = {}) => keyName({key, ...held})
  assert.deepEqual(['k', 'K', '?', ' ', 'Enter', 'PageDown'].map(key => name(key)), ['k', 'k', '?', ' ', 'Enter', 'PageDown'])
  assert.equal(name('Z', {ctrlKey: true, shiftKey: true}), 'Ctrl+Shift+z')
  assert.equal(name('z', {metaKey: true}), 'Ctrl+z')                   // a Mac's command key
  assert.equal(name('ArrowRight', {shiftKey: true}), 'ArrowRight')
})

test('every key of the table has one deed', () => {
  const keys = TABLE.flatMap(([, , keys]) => keys)
  assert.equal(new Set(keys).size, keys.length)
  for (const [, , keys, deed] of TABLE) for (const key of keys) assert.equal(deedOf(key, null), deed ?? null, key)
  for (const key of ['x', 'q', 'Tab', 'Ctrl+s', 'Ctrl+k']) assert.equal(deedOf(key, null), null, key)
})

test('a large picture lets through what is meant for it', () => {
  for (const key of ['k', '1', 'd', 'Delete', 'r', '0', 'u', 'Ctrl+z', 'y', 'z', 'b', 'Enter', '?', 'Escape']) {
    assert.ok(deedOf(key, 'a'), key)
  }
  for (const key of ['e', 'n', 'p', 'PageUp', ' ', 'a', 'Ctrl+a', 'g']) assert.equal(deedOf(key, 'a'), null, key)
})

test('an arrow goes as far as there are columns, and Home and End to the ends', () => {
  assert.deepEqual(['ArrowRight', 'ArrowLeft', 'ArrowDown', 'ArrowUp', 'Home', 'End'].map(key => stride(key, 6, 40)),
    [1, -1, 6, -6, -40, 40])
  assert.equal(stride('x', 6, 40), undefined)
})

test('copies that were lifted stand behind their best one', () => {
  const here = album({sheets: new Map([[0, ['a', 'b']]]), opened: new Map([['a', ['x', 'y']]])})
  assert.deepEqual(shown(here), ['a', 'x', 'y', 'b'])
  assert.deepEqual(shown(album()), [])
})

test('what is undecided', () => {
  const here = album({photos: new Map([['a', photo()], ['b', photo({decision: 'keep'})]])})
  assert.deepEqual(undecided(here, ['a', 'b', 'not here yet']), ['a', 'not here yet'])
})

test('five pages are kept, and the pictures of no other', () => {
  const gone = [], {revokeObjectURL} = URL
  URL.revokeObjectURL = url => gone.push(url)
  try {
    const sheets = new Map(Array.from({length: 9}, (_, number) => [number, [`p${number}`]]))
    const photos = new Map([...sheets].map(([number, [id]]) => [id, {url: `blob:${number}`}]))
    const here = album({number: 4, sheets, photos, opened: new Map([['p4', ['copy']]])})
    photos.set('copy', {url: 'blob:copy'})
    photos.set('faulty', {})
    forget(here)
    assert.deepEqual([...sheets.keys()], [2, 3, 4, 5, 6])
    assert.deepEqual([...photos.keys()], ['p2', 'p3', 'p4', 'p5', 'p6', 'copy'])
    assert.deepEqual(gone, ['blob:0', 'blob:1', 'blob:7', 'blob:8'])
    sheets.clear()
    here.opened.clear()
    sweep(here)
    assert.deepEqual([photos.size, gone.length], [0, 10])
  } finally {
    URL.revokeObjectURL = revokeObjectURL
  }
})

test('the next page is fetched first, and none beyond the ends', () => {
  assert.deepEqual(neighbours({number: 1, pages: 3}), [2, 0])
  assert.deepEqual(neighbours({number: 0, pages: 3}), [1])
  assert.deepEqual(neighbours({number: 2, pages: 3}), [1])
  assert.deepEqual(neighbours({number: 0, pages: 0}), [])
})

test('what was said, in words', () => {
  const all = [['keep', ''], ['drop', ''], ['drop', 'no bird'], ['relabel', 'Great Tit'], ['', '']]
  const words = all.map(([decision, label]) => said({decision, label}))
  assert.deepEqual(words, ['kept', 'dropped', 'dropped: no bird', 'is Great Tit', 'undecided'])
  const ben = {by: 'Ben', decision: 'relabel', label: 'Great Tit'}
  assert.deepEqual(saidByOthers({others: [ben]}), ['Ben: is Great Tit'])
  assert.ok(disputed({decision: 'keep', label: '', others: [ben]}))
  assert.ok(disputed({decision: 'relabel', label: 'Coal Tit', others: [ben]}))
  assert.ok(!disputed({decision: 'relabel', label: 'Great Tit', others: [ben]}))
  const cloe = {by: 'Cloe', decision: 'drop', label: 'no bird'}
  assert.ok(!disputed({decision: 'drop', label: 'another bird', others: [cloe]}))
  assert.ok(disputed({decision: 'keep', label: '', others: [cloe]}))
})

test('a tile is read aloud with its reasons', () => {
  assert.equal(describe(photo({decision: 'drop'})), 'European Robin, dropped')
  const others = [{by: 'Ben', decision: 'keep', label: ''}]
  assert.equal(describe(photo({reasons: ['far from the others'], copies: 3, others})),
    'European Robin, undecided, far from the others, 3 copies, Ben: kept')
  assert.equal(describe(photo({names: {german: '', english: '', scientific: 'Avis rara'}})), 'Avis rara, undecided')
})

test('how far we are, in words', () => {
  const status = {overall: [1300, 20, 5], birds: {'Erithacus rubecula': [7, 3, 1]}, pace: null, minutes: null, agreement: {}}
  assert.deepEqual(tally(status), ['20 of 1,300 decided, 5 dropped'])
  const all = {...status, pace: 31.4, minutes: 41, agreement: {Ben: [2, 3]}}
  assert.deepEqual(tally(all, photo()), ['20 of 1,300 decided, 5 dropped', 'European Robin 3 of 7', '31 a minute',
    '41 minutes left', 'you and Ben agree on 2 of 3'])
  assert.ok(!tally({...all, overall: [20, 20, 5]}).some(text => text.endsWith('left')))
  assert.deepEqual([.2, 1.4, 89.4, 90, 600].map(timeLeft), ['1 minute', '1 minute', '89 minutes', '1.5 hours', '10.0 hours'])
  assert.deepEqual([0, 1, 1000].map(n => many(n, 'photograph')), ['0 photographs', '1 photograph', '1,000 photographs'])
})
