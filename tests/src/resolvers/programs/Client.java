import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;

/** Resolves each name that it reads and connects at once: says how many addresses there were, how many were refused. */
class Client {
    public static void main(String[] arguments) throws IOException {
        var names = new BufferedReader(new InputStreamReader(System.in));
        for (String name = names.readLine(); name != null; name = names.readLine()) {
            try {
                var found = InetAddress.getAllByName(name);
                int refused = 0;
                for (var address : found) {
                    refused += isRefused(address) ? 1 : 0;
                }
                System.out.println(found.length + " " + refused);
            } catch (IOException error) {
                System.out.println(error);
            }
        }
    }

    private static boolean isRefused(InetAddress address) throws IOException {
        try (var channel = SocketChannel.open()) {
            channel.configureBlocking(false);
            channel.connect(new InetSocketAddress(address, 443));
            return false;
        } catch (IOException error) {
            return String.valueOf(error.getMessage()).contains("Operation not permitted");
        }
    }
}
