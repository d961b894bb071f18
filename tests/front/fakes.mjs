// A widget's model that only listens, and the scripts as they are exported
export * from '../../birdclf/front/box.js'
export * from '../../birdclf/front/kit.js'
export * from '../../birdclf/front/picture.js'
export * from '../../birdclf/front/post.js'
export * from '../../birdclf/front/talk.js'

export const fake = {
  model() {
    const heard = new Set()
    return {
      sent: [],
      on: (_, act) => heard.add(act),
      off: (_, act) => heard.delete(act),
      send(message, _, buffers) { this.sent.push({...message, buffers}) },
      say: (...given) => { for (const act of [...heard]) act(...given) },
    }
  },
  file: (...bytes) => new Blob([new Uint8Array(bytes)]),
}
