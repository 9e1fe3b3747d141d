//! What a component file may measure.

use portreeve_manifest::size::ByteSize;

/// Bounds on what [`Package::read`](crate::Package::read) takes in. The defaults leave
/// room for the largest components that today's tools produce (a Python interpreter is
/// 18 MB with some 20,000 functions) and keep the memory that reading can take in the low
/// hundreds of megabytes whatever the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeLimits {
    /// The file. 64 MiB: more than three times a Python component.
    pub component: ByteSize,
    /// Whether function bodies are checked as well. It is most of the time of reading; a
    /// component that is compiled has been checked by the compiler already, so a host
    /// that starts with its compile cache warm may leave it out.
    pub check_code: bool,
    /// Sections of the file, those of nested modules and components included. A small Rust
    /// component has over a thousand.
    pub sections: u32,
    /// How deep components and modules stand within each other, and component and instance
    /// types likewise. Composed components of today stand three deep.
    pub nesting: u32,
    /// All component-level declarations (types, imports, exports, aliases, instances).
    /// Whole WASI worlds take about 60 KiB.
    pub declarations: ByteSize,
    /// Entries of all sections that are tables of things: types, functions, globals, …
    pub definitions: u32,
    /// Component-level declarations times the instances made of nested components, in
    /// bytes: what the validator has to copy.
    pub instantiations: ByteSize,
    /// Resource types times imports, exports and instances: what the validator makes anew.
    /// It takes some 10 µs for each. All of WASI 0.2 declares about 40 resources in 30
    /// imports.
    pub resource_copies: u32,
    /// Names that the component imports.
    pub imports: u32,
    /// Names that the component exports, and the functions of each interface it exports.
    pub exports: u32,
    /// The length of one imported or exported name, in bytes.
    pub name: u32,
    /// The section `portreeve:manifest`.
    pub manifest: ByteSize,
    /// The section `portreeve:tools`.
    pub tools: ByteSize,
    /// The section `portreeve:licences`.
    pub licences: ByteSize,
    /// A section `.dep-v0`, which lists what a module was made from, as it is.
    pub dependency_list: ByteSize,
    /// The same, unpacked. A list of a thousand packages has about 100 KiB.
    pub dependency_text: ByteSize,
    /// A section that holds a software bill of materials.
    pub sbom: ByteSize,
    /// Packages in all such lists together.
    pub dependencies: u32,
    /// Sections that list packages: a composed component has one for each of its parts.
    pub dependency_sections: u32,
    /// The section `package-docs`.
    pub docs: ByteSize,
    /// Tools of one plugin; as many as the manifest crate takes in one list.
    pub bare_functions: u32,
    /// How deep the types of a bare function nest.
    pub type_depth: u32,
    /// The JSON Schemas of one bare function.
    pub schema: ByteSize,
    /// The JSON Schemas of all bare functions of a component.
    pub schemas: ByteSize,
}

impl Default for IntakeLimits {
    fn default() -> IntakeLimits {
        IntakeLimits {
            component: ByteSize(64 << 20),
            check_code: true,
            sections: 100_000,
            nesting: 16,
            declarations: ByteSize(1 << 20),
            definitions: 500_000,
            instantiations: ByteSize(32 << 20),
            resource_copies: 50_000,
            imports: 1_000,
            exports: 1_000,
            name: 1_024,
            manifest: ByteSize(256 << 10),
            tools: ByteSize(1 << 20),
            licences: ByteSize(1 << 20),
            dependency_list: ByteSize(1 << 20),
            dependency_text: ByteSize(8 << 20),
            sbom: ByteSize(4 << 20),
            dependencies: 10_000,
            dependency_sections: 64,
            docs: ByteSize(1 << 20),
            bare_functions: 512,
            type_depth: 32,
            schema: ByteSize(64 << 10),
            schemas: ByteSize(1 << 20),
        }
    }
}
