"""The use cases: mirror an object, write its status, process what is due. They reach the world through ports."""
