//! Core WebAssembly to artifact: validation, translation, the parallel driver, linking.
