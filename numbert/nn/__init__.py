"""What any network needs: Module and Parameter, the layers, and mathematics as pairs of plain functions."""
