;; Takes all it can get.
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "bomb.wat")
  (table $t 1 funcref)
  ;; Pages and elements when there were no more.
  (func (export "bomb") (result i32 i32)
    (loop $m (br_if $m (i32.ne (memory.grow (i32.const 3)) (i32.const -1))))
    (loop $e (br_if $e (i32.ne (table.grow $t (ref.null func) (i32.const 7)) (i32.const -1))))
    (memory.size) (table.size $t))
  (func (export "table")
    (loop $e (br_if $e (i32.ne (table.grow $t (ref.null func) (i32.const 7)) (i32.const -1)))))
  ;; The errno of so many random bytes.
  (func (export "random") (param i32) (result i32) (call $random_get (i32.const 0) (local.get 0)))
  ;; Opens itself until it may not: the errno, and how often it could.
  (func (export "open") (result i32 i32) (local $errno i32) (local $count i32)
    (loop $l
      (local.set $errno (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 0)
        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
      (if (i32.eqz (local.get $errno))
        (then (local.set $count (i32.add (local.get $count) (i32.const 1))) (br $l))))
    (local.get $errno) (local.get $count)))
