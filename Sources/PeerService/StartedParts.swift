/// What of a host runs already while the rest is being started: ended in reverse order when the rest cannot start.
struct StartedParts {
    private var ends: [() -> Void] = []

    /// Notes how the part just started is ended.
    mutating func add(_ end: @escaping () -> Void) { ends.append(end) }

    /// Ends all that was noted. Joins threads, so it blocks for a moment.
    func end() { for end in ends.reversed() { end() } }
}
