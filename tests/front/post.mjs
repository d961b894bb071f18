// What goes by post, without a server
import assert from 'node:assert/strict'
import {beforeEach, test} from 'node:test'
import {Conversation, Line, Posted, fake} from './fakes.mjs'

let requests, said, posted
class Request {
  constructor() { this.upload = {}; requests.push(this) }
  open(method, address) { Object.assign(this, {method, address}) }
  send(body) { this.body = body }
  abort() { this.aborted = true }
  moved(loaded, total) { this.upload.onprogress({loaded, total}) }
  replied(response) { this.response = response; this.onload() }
}
beforeEach(() => {
  requests = []
  said = []
  globalThis.XMLHttpRequest = Request
  globalThis.fetch = async address => { requests.greeted = address; return {} }
  posted = new Posted({get: () => ({heavy: {en: 'has {n} MB', de: 'hat {n} MB'}})}, '/birds/')
  posted.on('msg:custom', (message, buffers) => said.push([message, buffers]))
})
const photo = new Uint8Array([1, 2, 3]).buffer
const bare = {kind: 'photo', preview: false, seq: 3}

test('a greeting is for whoever is there', async () => {
  await posted.send({kind: 'hello', seq: 3})
  assert.deepEqual([requests.greeted, said], ['/birds/api/health', [[{kind: 'here', seq: 3}, []]]])
  globalThis.fetch = async () => { throw new Error('nobody') }
  await posted.send({kind: 'hello', seq: 4})
  assert.equal(said.length, 1)
})

test('a photo, its frame and what is asked about it', () => {
  posted.send(bare, undefined, [photo])
  posted.send({...bare, preview: true}, undefined, [photo])
  posted.send({kind: 'part', box: [0, .25, 1, 1], turn: 0, seq: 4}, undefined, [photo])
  posted.send({kind: 'why', box: null, turn: 3, species: 'Turdus merula', seq: 5}, undefined, [photo])
  assert.deepEqual(requests.map(({address}) => address), ['/birds/api/classify?for=page', '/birds/api/classify?for=page&preview=true',
    '/birds/api/classify?for=page&box=0%2C0.25%2C1%2C1&turn=0', '/birds/api/why?for=page&turn=3&species=Turdus+merula'])
  assert.deepEqual(requests.map(({method, body}) => [method, body]), Array(4).fill(['POST', photo]))
})

test('an answer, a picture, a refusal, and somebody else', () => {
  for (const reply of [{verdict: 'sure', seq: 0}, {verdict: 'sure', picture: 'AAEC'}, {kind: 'evidence', picture: 'AQ=='}, {error: 'Busy.', fehler: 'Voll.'}, null]) {
    posted.send(bare, undefined, [photo])
    requests.at(-1).replied(reply)
  }
  assert.deepEqual(said, [[{kind: 'answer', verdict: 'sure', seq: 3}, []], [{kind: 'answer', verdict: 'sure', seq: 3}, [Uint8Array.of(0, 1, 2)]],
    [{kind: 'evidence', seq: 3}, [Uint8Array.of(1)]],
    [{kind: 'answer', verdict: 'unreadable', sentences: {en: 'Busy.', de: 'Voll.'}, seq: 3}, []],
    [{kind: 'answer', verdict: 'trouble', seq: 3}, []]])
})

test('how much has been sent; as long as something moves, it goes on', () => {
  posted.send(bare, undefined, [photo])
  const [request] = requests, first = request.timeout
  assert.ok(first >= 60000 && first < 61000)
  request.moved(1, 4)
  request.moved(4, 4)
  assert.deepEqual(said.map(([{kind, share}]) => [kind, share]), [['sent', .25], ['sent', 1]])
  assert.ok(request.timeout >= 150000)
  request.onerror()
  assert.equal(said.at(-1)[0].verdict, 'cut')
})

test('one that was stopped says nothing any more, and a new photo stops the one before', async () => {
  posted.send(bare, undefined, [photo])
  posted.stop()
  requests[0].onerror()
  posted.send(bare, undefined, [photo])
  await posted.send({kind: 'hello', seq: 4})
  requests[1].replied({verdict: 'sure'})
  assert.deepEqual([requests.map(({aborted}) => aborted), said], [[true, true], [[{kind: 'here', seq: 4}, []]]])
})

test('what is too heavy has its sentence at home', () => {
  posted.send({kind: 'too_large', bytes: 1234.01 * 2 ** 20, seq: 3})
  assert.deepEqual(said[0][0], {kind: 'answer', verdict: 'unreadable', sentences: {en: 'has 1,234.1 MB', de: 'hat 1.234,1 MB'}, seq: 3})
})

test('a conversation by post: the share, and a stop that gives back what was there', async () => {
  const pictures = {decode: async () => ({width: 1, height: 1, close() {}}), smaller: async bytes => bytes, show() {}, leave() {}, ready() {}}
  const talk = new Conversation(new Line(posted, () => {}), {max_bytes: 9, as_is: 9, pixels: {}}, pictures, () => {})
  talk.line.listen((message, buffers) => talk.hear(message, buffers), new AbortController().signal)
  await talk.take([fake.file(1, 2)])
  requests[0].moved(1, 2)
  assert.deepEqual([talk.photo.share, talk.photo.phase], [.5, 'looking'])
  talk.stop()
  assert.deepEqual([requests[0].aborted, talk.photo.phase], [true, 'empty'])
  await talk.take([fake.file(1, 2)])
  requests[1].replied({verdict: 'sure', sentences: {en: 'a robin'}, birds: [{box: [0, 0, 1, 1]}]})
  assert.deepEqual([talk.photo.phase, talk.photo.answer.sentences.en], ['answered', 'a robin'])
})
