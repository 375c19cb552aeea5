//! Why tables could not be fitted.

use std::io;
use std::path::PathBuf;

/// Why tables could not be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitFault {
    /// The folder holds none of the tables.
    #[error(
        "{} holds none of spec_llc_ways.csv, a100_mig.csv and dnn_cpu_memory.csv; name the folder that does",
        folder.display()
    )]
    NoTable {
        /// The folder.
        folder: PathBuf,
    },
    /// A table could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The table.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A table is not in the form of its name.
    #[error("{}, line {line}: the row does not fit the table", path.display())]
    Form {
        /// The table.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        #[source]
        source: csv::Error,
    },
    /// A table holds something that cannot be.
    #[error("{}, line {line}: {problem}", path.display())]
    Value {
        /// The table.
        path: PathBuf,
        /// The line, counted from 1; the first of the program where it is about several.
        line: u64,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A program lacks a measurement that the others are compared with.
    #[error("{table}: `{program}` {problem}")]
    Program {
        /// The table.
        table: &'static str,
        /// The program.
        program: String,
        /// What is missing.
        problem: &'static str,
    },
}
