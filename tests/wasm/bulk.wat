;; Copies and fills: in place where the length is a constant, else checked and given to a leaf.
(module
  (memory 1)
  (func (param i32 i32) (memory.copy (local.get 0) (local.get 1) (i32.const 13)))
  (func (param i32 i32) (memory.fill (local.get 0) (local.get 1) (i32.const 3)))
  (func (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2))))
