/// What a command will not do: one sentence that names the thing, what was found, and what to do.
struct Refusal: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
