//! Reads a file as a shared library without loading it.
//!
//! The loader of the operating system maps a library and believes its headers: a truncated file is a SIGBUS, not an error.
//! So the headers are read here first, as bytes, and whatever they say is checked against the file.

use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::{
    Endianness, FileKind, Object, ObjectKind, ObjectSegment,
    elf::{self, FileHeader32, FileHeader64},
    macho,
    read::{
        elf::{FileHeader, ProgramHeader},
        macho::{FatArch, MachOFatFile32, MachOFatFile64},
    },
};

/// The symbol that makes a shared library a plugin: abi_stable's header of the root module.
pub const ENTRY: &str = ROOT_MODULE_LOADER_NAME;
/// The same for a library in C or C++: the one function of `fer_plugin.h`.
pub const C_ENTRY: &str = "fer_plugin_entry";

/// Why the bytes are not a plugin that this machine can load. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("not a shared library")]
    NotALibrary,
    #[error("a {found}, not a shared library")]
    OtherObject { found: &'static str },
    #[error("built for {found}, this is {host}", host = host())]
    OtherPlatform { found: String },
    #[error("truncated: {part} ends at {end}, the file has {length} bytes")]
    Truncated { part: String, end: u128, length: usize },
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("not a plugin: does not export {ENTRY} (export_plugin! does) or {C_ENTRY} (C does)")]
    NoEntry,
}

/// Checks that the bytes are a whole shared library of this platform that exports the entry point of a plugin.
pub fn check(bytes: &[u8]) -> Result<(), ImageError> {
    let kind = FileKind::parse(bytes).map_err(|_| ImageError::NotALibrary)?;
    match kind {
        FileKind::Elf64 => elf_file::<FileHeader64<Endianness>>(bytes)?,
        FileKind::Elf32 => elf_file::<FileHeader32<Endianness>>(bytes)?,
        FileKind::MachO32 | FileKind::MachO64 if cfg!(target_vendor = "apple") => {}
        FileKind::Pe32 | FileKind::Pe64 if cfg!(windows) => {}
        FileKind::MachOFat32 | FileKind::MachOFat64 if cfg!(target_vendor = "apple") => {
            return check(slice_of_fat_file(kind, bytes)?);
        }
        FileKind::MachO32 | FileKind::MachO64 | FileKind::MachOFat32 | FileKind::MachOFat64 => {
            return Err(other_platform("macOS"));
        }
        FileKind::Pe32 | FileKind::Pe64 => return Err(other_platform("Windows")),
        _ => return Err(ImageError::NotALibrary),
    }
    let file = object::File::parse(bytes).map_err(damaged)?;
    whole(&file, bytes.len())?;
    let architecture = format!("{:?}", file.architecture());
    if !same_architecture(&architecture) {
        return Err(other_platform(&architecture.to_lowercase()));
    }
    match file.kind() {
        ObjectKind::Dynamic => {}
        ObjectKind::Executable => return Err(ImageError::OtherObject { found: "program" }),
        ObjectKind::Relocatable => {
            return Err(ImageError::OtherObject { found: "relocatable object" });
        }
        _ => return Err(ImageError::NotALibrary),
    }
    if exports_entry(&file)? { Ok(()) } else { Err(ImageError::NoEntry) }
}

/// True when the file was probably meant to be a plugin: the entry point's name is somewhere in it.
pub fn mentions_entry(bytes: &[u8]) -> bool {
    [ENTRY, C_ENTRY].iter().any(|entry| bytes.windows(entry.len()).any(|window| window == entry.as_bytes()))
}

/// ELF's program headers and section table, before anything is read through them.
fn elf_file<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<(), ImageError> {
    if !cfg!(all(unix, not(target_vendor = "apple"))) {
        return Err(other_platform("an ELF system"));
    }
    let header = H::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let machine = machine(header, endian);
    if !same_architecture(&machine) {
        return Err(other_platform(&machine));
    }
    match header.e_type(endian) {
        elf::ET_DYN => {}
        elf::ET_EXEC => return Err(ImageError::OtherObject { found: "program" }),
        elf::ET_REL => {
            return Err(ImageError::OtherObject { found: "relocatable object" });
        }
        elf::ET_CORE => return Err(ImageError::OtherObject { found: "core dump" }),
        _ => return Err(ImageError::NotALibrary),
    }
    let table = |offset: u64, count: u16, size: u16| u128::from(offset) + u128::from(count) * u128::from(size);
    let programs = table(header.e_phoff(endian).into(), header.e_phnum(endian), header.e_phentsize(endian));
    inside("the program header", programs, bytes.len())?;
    let segments = header.program_headers(endian, bytes).map_err(damaged)?;
    for (index, segment) in segments.iter().enumerate() {
        let (start, size) = segment.file_range(endian);
        let end = u128::from(start) + u128::from(size);
        inside(&format!("segment {index}"), end, bytes.len())?;
    }
    let sections = table(header.e_shoff(endian).into(), header.e_shnum(endian), header.e_shentsize(endian));
    inside("the section table", sections, bytes.len())
}

/// Every segment (Mach-O) or section (PE) inside the file.
fn whole(file: &object::File<'_>, length: usize) -> Result<(), ImageError> {
    for (index, segment) in file.segments().enumerate() {
        let (start, size) = segment.file_range();
        let end = u128::from(start) + u128::from(size);
        inside(&format!("segment {index}"), end, length)?;
    }
    Ok(())
}

fn inside(part: &str, end: u128, length: usize) -> Result<(), ImageError> {
    if end <= length as u128 {
        return Ok(());
    }
    Err(ImageError::Truncated { part: part.to_owned(), end, length })
}

fn exports_entry(file: &object::File<'_>) -> Result<bool, ImageError> {
    for export in file.exports().map_err(damaged)? {
        let export = export.map_err(damaged)?;
        let object::read::NameOrOrdinal::Name(name) = export.name() else {
            continue;
        };
        // Mach-O puts an underscore before every C name.
        let name: &[u8] = name;
        let plain = if cfg!(target_vendor = "apple") { name.strip_prefix(b"_").unwrap_or(name) } else { name };
        if [name, plain].iter().any(|name| *name == ENTRY.as_bytes() || *name == C_ENTRY.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The part of a universal file that is for this architecture.
fn slice_of_fat_file(kind: FileKind, bytes: &[u8]) -> Result<&[u8], ImageError> {
    fn find<'data, A: FatArch>(architectures: &'data [A], bytes: &'data [u8]) -> Result<&'data [u8], ImageError> {
        for architecture in architectures {
            if same_architecture(&format!("{:?}", architecture.architecture())) {
                let slice = architecture.data(bytes).map_err(damaged)?;
                // A fat file inside a fat file does not exist, and would let hostile bytes recurse.
                return match FileKind::parse(slice) {
                    Ok(FileKind::MachO32 | FileKind::MachO64) => Ok(slice),
                    _ => Err(ImageError::NotALibrary),
                };
            }
        }
        Err(other_platform("other architectures"))
    }
    match kind {
        FileKind::MachOFat32 => {
            let file = MachOFatFile32::parse(bytes).map_err(damaged)?;
            find::<macho::FatArch32>(file.arches(), bytes)
        }
        _ => {
            let file = MachOFatFile64::parse(bytes).map_err(damaged)?;
            find::<macho::FatArch64>(file.arches(), bytes)
        }
    }
}

fn machine<H: FileHeader<Endian = Endianness>>(header: &H, endian: Endianness) -> String {
    let name = match header.e_machine(endian) {
        elf::EM_X86_64 => "x86-64",
        elf::EM_386 => "x86",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_ARM => "arm",
        elf::EM_RISCV if header.is_type_64() => "riscv64",
        elf::EM_RISCV => "riscv32",
        elf::EM_PPC64 => "powerpc64",
        elf::EM_LOONGARCH => "loongarch64",
        other => return format!("ELF machine {}", other.0),
    };
    // powerpc64 has both byte orders; everything else that runs this program is little-endian.
    match (header.is_big_endian(), cfg!(target_endian = "big")) {
        (true, false) => format!("big-endian {name}"),
        (false, true) => format!("little-endian {name}"),
        _ => name.to_owned(),
    }
}

/// Compares names as ELF, `object` and `std` write them: `x86-64`, `X86_64`, `x86_64`.
fn same_architecture(found: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_'], "");
    let host = plain(std::env::consts::ARCH);
    let found = plain(found);
    found == host || (found == "i386" && host == "x86")
}

/// This machine, as error messages name it.
fn host() -> String {
    std::env::consts::ARCH.replace("x86_64", "x86-64")
}

fn other_platform(found: &str) -> ImageError {
    ImageError::OtherPlatform { found: found.to_owned() }
}

fn damaged(error: object::Error) -> ImageError {
    ImageError::Damaged(error.to_string().to_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A real image of this platform that is not a plugin: this test's own program.
    fn program() -> Vec<u8> {
        let path = std::env::current_exe().expect("the test's program");
        std::fs::read(path).expect("readable")
    }

    #[test]
    fn other_files_are_told_apart() {
        assert_eq!(check(b""), Err(ImageError::NotALibrary));
        assert_eq!(check(b"#!/bin/sh\necho hello, world\n"), Err(ImageError::NotALibrary));
        assert!(check(&program()).is_err());
    }

    #[test]
    fn the_architecture_has_many_spellings() {
        let host = std::env::consts::ARCH;
        assert!(same_architecture(host));
        assert!(same_architecture(&host.replace('_', "-")));
        assert!(!same_architecture("vax"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_machine_is_named() {
        let mut bytes = program();
        bytes[18..20].copy_from_slice(&elf::EM_S390.0.to_le_bytes());
        let error = check(&bytes).expect_err("not this machine");
        assert_eq!(error.to_string(), format!("built for ELF machine 22, this is {}", host()));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(magic in 0..6_usize, tail in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let magics: [&[u8]; 6] = [
                b"\x7fELF\x02\x01\x01",
                b"\x7fELF\x01\x02\x01",
                b"\xcf\xfa\xed\xfe",
                b"\xca\xfe\xba\xbe",
                b"MZ",
                b"",
            ];
            let bytes: Vec<u8> = magics[magic].iter().copied().chain(tail).collect();
            prop_assert!(check(&bytes).is_err());
        }
    }
}
