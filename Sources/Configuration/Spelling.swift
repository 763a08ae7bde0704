/// What somebody probably meant: the nearest of the known names.
public enum Spelling {
    /// The known name with the fewest edits, when they are few enough for a slip of the fingers; nil otherwise.
    ///
    /// A swap of neighbours counts once. At most a third of the name, and at least two edits, are forgiven.
    public static func nearest(to name: String, in known: some Sequence<String>) -> String? {
        let typed = Array(name.utf8.prefix(128))
        var best: (name: String, edits: Int)?
        for candidate in known {
            let limit = min(best?.edits ?? .max, max(2, max(typed.count, candidate.utf8.count) / 3) + 1)
            let edits = distance(typed, Array(candidate.utf8.prefix(128)))
            if edits < limit { best = (candidate, edits) }
        }
        return best?.name
    }

    /// `; did you mean X?`, or nothing.
    public static func hint(for name: String, in known: some Sequence<String>) -> String {
        nearest(to: name, in: known).map { "; did you mean \($0)?" } ?? ""
    }

    /// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        if left.isEmpty || right.isEmpty { return max(left.count, right.count) }
        var beforePrevious = [Int](repeating: 0, count: right.count + 1)
        var previous = Array(0...right.count)
        for row in 1...left.count {
            var current = [row]
            current.reserveCapacity(right.count + 1)
            for column in 1...right.count {
                let replaced = previous[column - 1] + (left[row - 1] == right[column - 1] ? 0 : 1)
                var edits = min(previous[column] + 1, current[column - 1] + 1, replaced)
                if row > 1, column > 1, left[row - 1] == right[column - 2], left[row - 2] == right[column - 1] {
                    edits = min(edits, beforePrevious[column - 2] + 1)
                }
                current.append(edits)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[right.count]
    }
}
