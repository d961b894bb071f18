// One photo and its answer, without a browser and without a kernel
import assert from 'node:assert/strict'
import {beforeEach, test} from 'node:test'
import {Conversation, Line, fake, fallen} from './fakes.mjs'

const LIMITS = {max_bytes: 1000, as_is: 100, side: 1024, pixels: {JPEG: 1e6}}
const answer = (seq, sentence) => ({kind: 'answer', seq, verdict: 'not_bird', sentences: {en: sentence}})
let model, talk, changes, bitmap, part, turns

beforeEach(() => {
  model = fake.model()
  changes = 0
  bitmap = {width: 1, height: 1, close() {}}
  const line = new Line(model, () => { changes += 1 })
  part = {bytes: new ArrayBuffer(9), box: [.25, .25, .75, .75], place: [0, 0, .4, .4]}
  turns = []
  const pictures = {decode: async () => bitmap, smaller: async bytes => bytes, show() {}, cut: async () => part, leave() {}, ready() {},
    turn: turn => turns.push(turn)}
  talk = new Conversation(line, LIMITS, pictures, () => { changes += 1 })
})

const lost = () => talk.line.lost
const said = () => talk.photo.answer?.sentences?.en
const kinds = () => model.sent.map(({kind, seq}) => `${kind} ${seq}`)

test('first hello, then the photo, both with its number and nothing else of it', async () => {
  await talk.take([fake.file(1, 2, 3)])
  assert.deepEqual(kinds(), ['hello 1', 'photo 1'])
  assert.deepEqual([...new Uint8Array(model.sent[1].buffers[0])], [1, 2, 3])
  assert.deepEqual(Object.keys(model.sent[1]).sort(), ['buffers', 'kind', 'preview', 'seq'])
  assert.equal(model.sent[1].preview, false)
  assert.deepEqual([talk.photo.phase, talk.photo.pictured], ['looking', true])
})

test('what the browser cannot show comes back as a picture', async () => {
  bitmap = null
  await talk.take([fake.file(1)])
  assert.equal(model.sent[1].preview, true)
  bitmap = {close() {}}
  await talk.hear(answer(1, 'a cat'), [new ArrayBuffer(1)])
  assert.deepEqual([talk.photo.pictured, said()], [true, 'a cat'])
})

test('answers out of order', async () => {
  for (const n of [1, 2]) await talk.take([fake.file(n)])
  await talk.hear(answer(2, 'the second'), [])
  await talk.hear(answer(1, 'the first'), [])
  await talk.hear(answer(2, 'the second again'), [])
  assert.equal(said(), 'the second')
  assert.deepEqual(kinds(), ['hello 1', 'photo 1', 'hello 2', 'photo 2'])
})

test('a photo that was replaced while it was read is not sent', async () => {
  const first = talk.take([fake.file(1)]), second = talk.take([fake.file(2)])
  await Promise.all([first, second])
  assert.deepEqual(kinds(), ['hello 1', 'hello 2', 'photo 2'])
})

test('trouble on their side, and a photo that is none, are refusals without a picture', async () => {
  for (const reply of [{verdict: 'trouble'}, {verdict: 'unreadable', sentences: {en: 'half a JPEG'}}]) {
    await talk.take([fake.file(1)])
    await talk.hear({kind: 'answer', seq: talk.photo.seq, ...reply}, [])
    assert.deepEqual([talk.photo.phase, talk.photo.pictured, talk.photo.answer.verdict], ['refused', false, reply.verdict])
  }
})

test('a file that is too large, or gone, never leaves', async () => {
  await talk.take([{size: 1001}])
  assert.deepEqual(model.sent[1], {kind: 'too_large', bytes: 1001, seq: 1, buffers: []})
  await talk.take([{size: 1, arrayBuffer: () => Promise.reject(new Error('gone'))}])
  assert.deepEqual([kinds().at(-1), talk.photo.answer.verdict], ['hello 2', 'gone'])
})

test('of a picture with too many pixels only what stands before them is sent', async () => {
  const frame = [0xFF, 0xC0, 0, 17, 8, 4000 >> 8, 4000 & 255, 4000 >> 8, 4000 & 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  await talk.take([fake.file(0xFF, 0xD8, ...frame, 0xFF, 0xDA, 0, 2, ...Array(500).fill(7))])
  const [photo] = model.sent.slice(-1)
  assert.deepEqual([photo.kind, photo.preview, photo.buffers[0].byteLength, talk.photo.pictured], ['photo', false, 25, false])
})

test('several photos, a word about it, and no word about one', async () => {
  await talk.take([fake.file(1), fake.file(2), fake.file(3)])
  assert.deepEqual(talk.photo.note, {key: 'several', values: {n: 3}})
  await talk.take([fake.file(2)])
  assert.equal(talk.photo.note, null)
})

test('never silent: nobody is there, it takes longer, somebody is there after all', async t => {
  t.mock.timers.enable({apis: ['setTimeout']})
  await talk.take([fake.file(1)])
  t.mock.timers.tick(4000)
  assert.deepEqual([talk.photo.slow, lost()], [true, false])
  t.mock.timers.tick(4000)
  assert.equal(lost(), true)
  await talk.hear({kind: 'here', seq: 1}, [])
  assert.deepEqual([lost(), talk.photo.heard], [false, true])
  t.mock.timers.tick(22000)                               // 30 seconds and a little for one byte
  assert.equal(lost(), false)
  t.mock.timers.tick(1)
  assert.equal(lost(), true)
  await talk.hear(answer(1, 'late'), [])
  assert.deepEqual([lost(), said()], [false, 'late'])
})

test('a clock about an earlier photo says nothing', async t => {
  t.mock.timers.enable({apis: ['setTimeout']})
  await talk.take([fake.file(1)])
  t.mock.timers.tick(7000)
  await talk.take([fake.file(2)])
  t.mock.timers.tick(7000)
  assert.equal(lost(), false)
  t.mock.timers.tick(1000)
  assert.equal(lost(), true)
})

test('nobody to send to', async () => {
  model.send = () => { throw new Error('no comm') }
  await talk.take([fake.file(1)])
  assert.equal(lost(), true)
})

test('a photo that was lost with the connection is told from one that is late', async () => {
  const again = async () => {
    await talk.take([fake.file(1)])
    await talk.hear({kind: 'here', seq: talk.photo.seq}, [])
    talk.connection('disconnected')
    talk.connection('connected')
    assert.equal(kinds().at(-1), `hello ${talk.photo.seq}`)
  }
  await again()
  await talk.hear({kind: 'here', seq: 1}, [])
  assert.deepEqual([talk.photo.answer, talk.photo.phase], [{verdict: 'cut'}, 'refused'])
  await again()
  await talk.hear(answer(2, 'it was late'), [])
  await talk.hear({kind: 'here', seq: 2}, [])
  assert.equal(said(), 'it was late')
})

test('a connection that breaks between two photos takes none along', async () => {
  talk.connection('disconnected')
  talk.connection('connected')
  assert.deepEqual(kinds(), [])
})

test('after leaving, nothing is heard', async () => {
  await talk.take([fake.file(1)])
  talk.forget()
  const before = changes
  await talk.hear(answer(1, 'too late'), [])
  assert.deepEqual([talk.photo.phase, changes], ['empty', before])
})

// --- a second look

const BOX = [.1, .1, .3, .3], OTHER = [.6, .6, .9, .9], MOVED = [.1, .1, .35, .3]
const found = seq => ({...answer(seq, 'a robin'), birds: [{box: BOX}, {box: OTHER, sentences: {en: 'a wren'}, candidates: [{scientific: 'T. t.'}]}],
  candidates: [{scientific: 'E. r.'}]})
const last = () => { const {kind, box, turn, species, buffers} = model.sent.at(-1); return {kind, box, turn, species, size: buffers[0]?.byteLength} }
const settled = () => new Promise(done => setTimeout(done))
async function shown() {
  await talk.take([fake.file(1, 2, 3)])
  await talk.hear(found(1), [])
}
async function looked(sentence) {
  talk.move(MOVED)
  talk.look()
  await settled()
  await talk.hear(answer(talk.photo.seq, sentence), [])
}

test('each bird has its frame, and touching one shows its answer', async () => {
  await shown()
  assert.deepEqual([talk.photo.frame, said(), talk.undoable], [BOX, 'a robin', false])
  talk.choose(1)
  assert.deepEqual([talk.photo.frame, said(), talk.undoable, talk.photo.phase], [OTHER, 'a wren', false, 'answered'])
  talk.choose(0)
  assert.deepEqual([talk.photo.frame, said()], [BOX, 'a robin'])
  assert.deepEqual(kinds(), ['hello 1', 'photo 1'])
})

test('a frame that was moved is looked at when somebody says so, and its answer takes the place of the other', async () => {
  await shown()
  talk.look()
  talk.move(MOVED)
  assert.deepEqual([kinds(), talk.moved], [['hello 1', 'photo 1'], true])
  talk.look()
  await settled()
  assert.deepEqual(kinds().slice(2), ['hello 2', 'part 2'])
  assert.deepEqual(last(), {kind: 'part', box: part.box, turn: undefined, species: undefined, size: 9})
  assert.deepEqual([said(), talk.photo.phase], ['a robin', 'looking'])
  await talk.hear(answer(2, 'a tit'), [])
  assert.deepEqual([said(), talk.moved, talk.photo.birds.map(bird => bird.box)], ['a tit', false, [MOVED, OTHER]])
  talk.choose(1)
  talk.choose(0)
  assert.deepEqual([said(), talk.photo.frame], ['a tit', MOVED])
})

test('what the browser cannot cut goes with its frame and its turn', async () => {
  part = null
  await shown()
  await looked('a tit')
  assert.deepEqual(last(), {kind: 'part', box: MOVED, turn: 0, species: undefined, size: 3})
  assert.equal(said(), 'a tit')
})

test('where nothing was found, a frame may be set', async () => {
  await talk.take([fake.file(1)])
  await talk.hear(answer(1, 'no bird'), [])
  assert.deepEqual([talk.photo.frame, talk.undoable], [null, false])
  talk.aim(MOVED)
  talk.look()
  await settled()
  await talk.hear(answer(2, 'a tit after all'), [])
  assert.deepEqual([said(), talk.photo.birds.length], ['a tit after all', 1])
  talk.undo()
  assert.deepEqual([said(), talk.photo.birds, talk.photo.frame], ['no bird', [], null])
})

test('a photo that is turned is asked about as a whole, and its frames go', async () => {
  await shown()
  await talk.turn()
  assert.deepEqual([last().kind, last().turn, last().box, last().size, turns], ['part', 1, undefined, 3, [1]])
  assert.deepEqual([talk.photo.birds, talk.photo.frame, said()], [[], null, 'a robin'])
  await talk.hear(found(2), [])
  assert.deepEqual([talk.photo.frame, talk.photo.turn, talk.undoable], [BOX, 1, true])
})

test('undo: frame, answer and turn, also while it is looking', async () => {
  await shown()
  await talk.turn()
  await talk.hear(found(2), [])
  await looked('a tit')
  talk.undo()
  const before = () => [talk.photo.frame, said(), talk.photo.turn, talk.photo.birds.length, talk.undoable, talk.photo.phase]
  assert.deepEqual(before(), [BOX, 'a robin', 0, 2, false, 'answered'])
  assert.deepEqual(turns, [1, 0])
  talk.move(MOVED)
  talk.look()
  const {seq} = talk.photo
  talk.undo()
  await talk.hear(answer(seq, 'too late'), [])
  assert.deepEqual(before(), [BOX, 'a robin', 0, 2, false, 'answered'])
})

test('a second look that is refused changes nothing but the line above', async () => {
  await shown()
  for (const reply of [{verdict: 'trouble'}, {verdict: 'unreadable', sentences: {en: 'no size'}}]) {
    talk.move(MOVED)
    talk.look()
    await settled()
    await talk.hear({kind: 'answer', seq: talk.photo.seq, ...reply}, [])
    assert.deepEqual([talk.photo.phase, said(), talk.photo.pictured, talk.photo.frame], ['answered', 'a robin', true, MOVED])
    assert.deepEqual(talk.photo.note, {said: reply.sentences, key: reply.verdict})
  }
  talk.photo.file.arrayBuffer = () => Promise.reject(new Error('gone'))
  await talk.turn()
  assert.deepEqual([talk.photo.note.key, said(), talk.photo.turn, turns], ['gone', 'a robin', 0, [1, 0]])
})

test('why: about the bird that is shown, over the picture it was asked about, and away again', async () => {
  await shown()
  talk.choose(1)
  talk.why()
  await settled()
  assert.deepEqual(last(), {kind: 'why', box: part.box, turn: undefined, species: 'T. t.', size: 9})
  const evidence = {kind: 'evidence', seq: talk.photo.seq, width: 2, height: 1, box: [0, 0, .5, 1], where: {en: 'left'}}
  await talk.hear(evidence, [new DataView(Uint8Array.of(9, 0, 255).buffer, 1)])
  assert.deepEqual([talk.photo.evidence.box, [...talk.photo.evidence.values], said()], [[0, 0, .2, .4], [0, 255], 'a wren'])
  talk.why()
  assert.deepEqual([talk.photo.evidence, said()], [null, 'a wren'])
})

test('a look that nobody answers is never silent either', async t => {
  t.mock.timers.enable({apis: ['setTimeout']})
  await shown()
  talk.move(MOVED)
  talk.look()
  t.mock.timers.tick(8000)
  assert.deepEqual([talk.photo.slow, lost()], [true, true])
  talk.undo()
  assert.deepEqual([lost(), said()], [false, 'a robin'])
})

const item = (file, folder = false) => ({kind: 'file', getAsFile: () => file, webkitGetAsEntry: () => ({isDirectory: folder})})
const text = {kind: 'string'}

test('what falls on the page is photos, or the reason why not', () => {
  assert.deepEqual(fallen({items: [item('a'), text, item('b')]}, 'link'), {files: ['a', 'b']})
  assert.deepEqual(fallen({items: [item('x', true)]}, 'link'), {note: 'folder'})
  assert.deepEqual(fallen({items: [text]}, 'link'), {note: 'link'})
  assert.deepEqual(fallen({items: [text]}, 'nothing'), {note: 'link'})
  assert.deepEqual(fallen({items: []}, 'nothing'), {note: 'nothing'})
})
