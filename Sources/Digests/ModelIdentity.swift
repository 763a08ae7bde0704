import Artifacts

extension Manifest {
    /// The model's identity: SHA-256 of the canonical text. Computed wherever a manifest comes from elsewhere, never believed.
    public var model: ModelID { ModelID(Digests.sha256(Array(canonicalText.utf8))) }
}
