;; A table that grows: `grow` by elements: the elements before, or -1.
(component
  (core module $module
    (table 10 funcref)
    (func (export "grow") (param i32) (result i32)
      ref.null func
      local.get 0
      table.grow))
  (core instance $instance (instantiate $module))
  (func (export "grow") (param "elements" u32) (result s32)
    (canon lift (core func $instance "grow"))))
