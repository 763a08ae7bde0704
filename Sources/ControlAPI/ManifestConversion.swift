import Artifacts

/// Between the wire's manifests and the values everybody thinks in.
extension Manifest {
    /// The wire form.
    public var wire: Wire.Manifest {
        Wire.Manifest(
            reference: reference, revision: revision,
            files: files.map {
                Wire.ManifestFile(
                    path: $0.path, sizeBytes: $0.sizeBytes, publishedDigest: $0.publishedDigest?.description,
                    task: $0.task.description)
            })
    }

    /// Checks and reads the wire form; what is missing or makes no sense is a fault, never a trap.
    public init(wire: Wire.Manifest?) throws(Fault) {
        guard let wire else { throw Fault(description: "a manifest is missing") }
        var files: [ManifestFile] = []
        files.reserveCapacity(wire.files.count)
        for file in wire.files {
            var published: Digest?
            if let text = file.publishedDigest {
                guard let digest = Digest(text: text) else {
                    throw Fault(description: "‘\(text.prefix(80))’ is no digest")
                }
                published = digest
            }
            guard let task = TaskID(text: file.task) else {
                throw Fault(description: "‘\(file.task.prefix(80))’ is no task")
            }
            files.append(
                ManifestFile(path: file.path, sizeBytes: file.sizeBytes, publishedDigest: published, task: task))
        }
        try self.init(reference: wire.reference, revision: wire.revision, files: files)
    }
}
