;; Says ready, then waits for input and exits with its length.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\20\00\00\00\06\00\00\00\00\04\00\00\00\04\00\00")
  (data (i32.const 32) "ready\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
    (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 0)))
    (call $proc_exit (i32.load (i32.const 0)))))
