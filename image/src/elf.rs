//! What a program needs from the dynamic linker.

use anyhow::{Context, Result};
use object::{
    LittleEndian as Little, elf,
    read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader},
};

/// The interpreter and the libraries that an ELF file names. Empty for any other file.
pub(crate) fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    if !bytes.starts_with(&elf::ELFMAG) {
        return Ok(Vec::new());
    }
    let file = ElfFile64::<Little>::parse(bytes).context("not a 64-bit ELF file")?;
    let mut names = Vec::new();
    let header = file.elf_header();
    for segment in header.program_headers(Little, bytes)? {
        if let Some(interpreter) = segment.interpreter(Little, bytes)? {
            names.push(String::from_utf8_lossy(interpreter).into_owned());
        }
    }
    let sections = header.sections(Little, bytes)?;
    if let Some((entries, strings)) = sections.dynamic(Little, bytes)? {
        let strings = sections.strings(Little, bytes, strings)?;
        for entry in entries {
            if entry.tag(Little) == elf::DT_NEEDED {
                names.push(String::from_utf8_lossy(entry.string(Little, strings)?).into_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_linker_and_its_libraries() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needed = needed(&own).unwrap();
        assert!(needed.iter().any(|name| name == "libc.so.6"), "{needed:?}");
        assert!(
            needed.iter().any(|name| name.starts_with('/')),
            "{needed:?}"
        );
    }

    #[test]
    fn other_files_need_nothing() {
        assert_eq!(needed(b"#!/bin/sh\n").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_broken_file_is_an_error() {
        assert!(needed(b"\x7fELF\x02\x01\x01").is_err());
    }
}
