;; What --preload gives to user.wat. Its _initialize must have run first.
(module
  (memory (export "memory") 1)
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize") (global.set $ready (i32.const 40)))
  (func (export "answer") (result i32) (i32.add (global.get $ready) (i32.const 2))))
