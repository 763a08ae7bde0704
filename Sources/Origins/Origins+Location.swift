import Artifacts

extension Origins {
    /// Where a manifest's file can be read, for a lease-holder that may not have resolved the manifest itself.
    ///
    /// A hub's file is named by its commit: no question is asked. Others are resolved again, and the answer must still
    /// be the content the manifest means: otherwise `.changed`.
    public func location(of file: ManifestFile, in manifest: Manifest) async throws(OriginError) -> OriginLocation {
        let reference: ModelReference
        do { reference = try ModelReference(manifest.reference) } catch {
            throw OriginError(.invalidSetting, error.description)
        }
        if case .hub(let hub) = reference.source {
            return try self.hub.location(of: file, repository: hub, commit: manifest.revision)
        }
        let now = try await resolve(reference)
        guard let index = now.manifest.files.firstIndex(where: { $0.task == file.task }) else {
            throw OriginError(
                .changed,
                "\(file.path) is no longer what it was when \(reference) was resolved; get it again with --refresh")
        }
        return now.locations[index]
    }
}
